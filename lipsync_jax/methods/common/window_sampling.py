"""Which windows of a clip may become training examples."""

import functools
from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from lipsync_jax.data.audio_features import AudioFeatureSpec

# Value of `config.edge_windows` -> meaning.
EDGE_WINDOWS: Mapping[str, str] = {
    "reject": "windows whose audio starts before the clip or ends after it are never sampled",
    "pad": "audio outside of the clip is silence",
}


class AudioSpan(NamedTuple):
    """Audio that windows of frames take.

    Attributes:
        spec: which audio features.
        columns: columns of the clip's audio features.
        frames: number of successive frames that take audio, the window's first one included.
    """

    spec: AudioFeatureSpec
    columns: int
    frames: int = 1


def check_edge_windows(value: str) -> None:
    """Raises ValueError unless `value` is one of EDGE_WINDOWS."""
    if value not in EDGE_WINDOWS:
        raise ValueError(f"config.edge_windows={value!r}: choose {', '.join(EDGE_WINDOWS)}")


@functools.lru_cache(1024)  # clips of a data set have few lengths
def windows_inside(count: int, frame_rate: Fraction, *spans: AudioSpan) -> np.ndarray:
    """Returns which windows of frames have all of several kinds of audio inside of the clip.

    Args:
        count: windows; window i starts at frame i.
        frame_rate: frames a second, exact.
        *spans: the kinds of audio.

    Returns:
        bool (count,), read-only.

    Raises:
        ValueError: no window has.
    """
    allowed = np.ones(count, bool)
    for spec, columns, frames in spans:
        starts = spec.window_starts_of_frames(np.arange(count + frames - 1), frame_rate)
        allowed &= (starts[:count] >= 0) & (starts[frames - 1 :] + spec.window <= columns)
    if not allowed.any():
        raise ValueError(
            f"none of the clip's {count} windows of frames has all of its audio inside of "
            f"the clip ({spans[0].columns} columns of audio features); leave the clip out, or set "
            "--config.edge_windows=pad"
        )
    allowed.flags.writeable = False
    return allowed
