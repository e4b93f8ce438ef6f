"""Progress and results of dubbing and animation."""

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from lipsync_jax.faces.trajectory import VideoFaces


class Progress(NamedTuple):
    """The progress of a run.

    Attributes:
        stage: `faces`, then `generate`.
        done: frames finished.
        total: frames of this stage; an estimate for `faces`.
        seconds: time since this stage began.
    """

    stage: str
    done: int
    total: int
    seconds: float


OnProgress = Callable[[Progress], None]


@dataclasses.dataclass(frozen=True)
class GenerationResult:
    """The result of a run.

    Attributes:
        outfile: path of the video.
        frames: frames written.
        edited: frames in which a face was generated.
        unchanged: frames without a generated face: no face was found, or there was no speech and
            `silence_mode="passthrough"`.
        missing_intervals: (start, end) seconds of the output in which no face was found.
        duration: seconds of video.
        frame_rate: frames a second of the video.
        wall_seconds: elapsed time of the run.
        frames_per_second: frames a second of generation and encoding.
        model_hash: identifies the weights, see `metadata.model_hash`.
        credit: the model, its licence and whom to credit, see `model_info.credit`; may be empty.
        face_height: pixels of the video, median of the generated faces; None if there were none.
        generated_height: pixels of the faces as the network generates them; None where the network
            generates whole frames.
        too_small_intervals: (start, end) seconds of the output in which a face was left unchanged
            because of its size.
        preview_only: whether `outfile` is the preview, of `frames` frames, and no video was made.
        notes: changes and losses of the files' content, a sentence each.
        video_faces: all faces of the face video; None where faces are not tracked.
        frame_numbers: of each frame of the output, the number of the face video's frame.
    """

    outfile: Path
    frames: int
    edited: int
    unchanged: int
    missing_intervals: tuple[tuple[float, float], ...]
    duration: float
    frame_rate: Fraction
    wall_seconds: float = 0.0
    frames_per_second: float = 0.0
    model_hash: str = ""
    face_height: float | None = None
    generated_height: int | None = None
    too_small_intervals: tuple[tuple[float, float], ...] = ()
    preview_only: bool = False
    notes: tuple[str, ...] = ()
    credit: str = ""
    video_faces: VideoFaces | None = dataclasses.field(default=None, repr=False)
    frame_numbers: tuple[int, ...] = dataclasses.field(default=(), repr=False)
