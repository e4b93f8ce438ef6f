"""Which windows of a clip may become training examples."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

# Value of `config.edge_windows` -> meaning.
EDGE_WINDOWS: Mapping[str, str] = {
    "reject": "windows whose audio starts before the clip or ends after it are never sampled",
    "pad": "audio outside of the clip is silence",
}


class AudioSpans(NamedTuple):
    """Audio that windows of frames take.

    Attributes:
        starts: integer (windows,) or (windows, n), first columns of each window's audio.
        length: columns from each of `starts` on.
        columns: columns of the clip's audio features.
    """

    starts: np.ndarray
    length: int
    columns: int

    def inside(self) -> np.ndarray:
        """Returns which windows have all of their audio inside of the clip, bool (windows,)."""
        inside = (self.starts >= 0) & (self.starts + self.length <= self.columns)
        return np.asarray(inside.reshape(len(inside), -1).all(axis=1))


def check_edge_windows(value: str) -> None:
    """Raises ValueError unless `value` is one of EDGE_WINDOWS."""
    if value not in EDGE_WINDOWS:
        raise ValueError(f"config.edge_windows={value!r}: choose {', '.join(EDGE_WINDOWS)}")


def windows_inside(*spans: AudioSpans) -> np.ndarray:
    """Returns which windows have all of several kinds of audio inside of the clip.

    Args:
        *spans: of equally many windows.

    Returns:
        bool (windows,).

    Raises:
        ValueError: no window has.
    """
    allowed = np.logical_and.reduce([span.inside() for span in spans])
    if not allowed.any():
        raise ValueError(
            f"none of the clip's {len(allowed)} windows of frames has all of its audio inside of "
            f"the clip ({spans[0].columns} columns of audio features); leave the clip out, or set "
            "--config.edge_windows=pad"
        )
    return allowed
