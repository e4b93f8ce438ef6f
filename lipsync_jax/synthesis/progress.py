"""What a generation tells while it runs and when it is done."""

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple


class Progress(NamedTuple):
    """How far a run is.

    Attributes:
        stage: `faces`, then `generate`.
        done: frames.
        total: frames of this stage; about, for `faces`.
        seconds: since this stage began.
    """

    stage: str
    done: int
    total: int
    seconds: float


OnProgress = Callable[[Progress], None]


@dataclasses.dataclass(frozen=True)
class Report:
    """What was done.

    Attributes:
        outfile: the video.
        frames: frames written.
        edited: those in which a face was redrawn.
        kept: those left as they were: no face, or by `silence="original"` no voice.
        missing: (start, end) seconds of the output for which no face was found.
        duration: seconds of picture.
        frame_rate: frames a second of the video.
        seconds: that the run took, all in all.
        frames_per_second: frames written a second of the second pass.
        model: a name for the weights, see `provenance.model_hash`.
        notes: what was changed or lost of the files' content, a sentence each.
    """

    outfile: Path
    frames: int
    edited: int
    kept: int
    missing: tuple[tuple[float, float], ...]
    duration: float
    frame_rate: Fraction
    seconds: float
    frames_per_second: float
    model: str
    notes: tuple[str, ...] = ()
