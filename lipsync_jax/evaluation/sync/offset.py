"""By how much the sound of a clip is early or late, and how sure that is."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

TOLERANCE = 1  # frames; what offset accuracy forgives
CLEAR = 0.25  # least `Sync.clarity` of an offset that is to be believed, see docs/evaluate.md
_LEAST_WINDOWS = 5  # that a shift's mean must be of


class Sync(NamedTuple):
    """What was found.

    Attributes:
        lag: frames by which the sound comes after the picture; negative where it is early.
        exact: the same to a fraction of a frame, by a parabola through the best three shifts.
        distance: mean distance at that lag.
        confidence: median over shifts of the mean distance, minus the smallest.
        clarity: the confidence over that median: 0 where no shift stands out, 1 where lips and
            sound embed alike. It has no unit, so it tells about the same of every network.
        distances: (2 * shift + 1,), mean distance at lags of -shift to shift frames; NaN where
            there is no sound to compare with.
    """

    lag: int
    exact: float
    distance: float
    confidence: float
    clarity: float
    distances: np.ndarray


def measure(lips: np.ndarray, audio: np.ndarray, inside: np.ndarray, shift: int) -> Sync:
    """Moves the sound against the picture and takes the smallest mean distance.

    The arithmetic of Chung & Zisserman 2016, section 4.1, but every shift is compared with the
    sound that is really there: no zeros are put beyond the ends (see `lse.lse` for the published
    reading), so short clips and large offsets are not biased.

    Args:
        lips: (windows, d), windows one frame apart.
        audio: (windows + 2 * shift, d); row i + shift is of the sound at window i.
        inside: bool (windows + 2 * shift,), whether there is sound at all.
        shift: frames to try either way.

    Raises:
        ValueError: shapes don't fit, or fewer than five windows have sound at some three lags.
    """
    lips, audio, inside = np.asarray(lips), np.asarray(audio), np.asarray(inside, bool)
    n = len(lips)
    if lips.ndim != 2 or audio.shape != (n + 2 * shift, *lips.shape[1:]):
        raise ValueError(
            f"lips {lips.shape} need audio of {n + 2 * shift} windows and the same width, not "
            f"{audio.shape}"
        )
    distances = np.full(2 * shift + 1, np.nan)
    for k in range(2 * shift + 1):
        known = inside[k : k + n]
        if known.sum() >= _LEAST_WINDOWS:
            difference = lips[known] - audio[k : k + n][known]
            distances[k] = np.linalg.norm(difference, axis=1).mean()
    tried = np.flatnonzero(np.isfinite(distances))
    if len(tried) < 3:
        raise ValueError(
            f"{n} windows are too few to find an offset; give at least half a second of one face "
            "with its sound"
        )
    best = int(np.nanargmin(distances))
    smallest, middle = float(distances[best]), float(np.nanmedian(distances))
    return Sync(
        lag=best - shift,
        exact=best - shift + _vertex(distances, best),
        distance=smallest,
        confidence=middle - smallest,
        clarity=(middle - smallest) / middle if middle > 0 else 0.0,
        distances=distances,
    )


def _vertex(distances: np.ndarray, best: int) -> float:
    """Where between the neighbours of the smallest value a parabola has its lowest point."""
    if not 0 < best < len(distances) - 1:
        return 0.0
    # Distances come to a point at their smallest, their squares are round there.
    before, here, after = np.square(distances[best - 1 : best + 2])
    bend = before - 2 * here + after
    return float((before - after) / (2 * bend)) if np.isfinite(bend) and bend > 0 else 0.0


def offset_accuracy(lags: Sequence[float], tolerance: float = TOLERANCE) -> float:
    """Share of clips whose sound is at most `tolerance` frames away from the picture.

    Args:
        lags: frames, one a clip.
        tolerance: frames that are forgiven.

    Returns:
        Between 0 and 1; NaN without clips.
    """
    return float(np.mean(np.abs(lags) <= tolerance)) if len(lags) else float("nan")
