"""The audio offset of a clip, and its confidence.

Audio offsets are positive where the audio is later than the video.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

TOLERANCE = 1  # frames; the tolerance of offset accuracy
MIN_PROMINENCE = 0.25  # least prominence of a confident offset, see docs/how-to/sync.md
# Least stability that makes an offset of less prominence confident.
MIN_STABILITY = 0.9
_MIN_WINDOWS = 5  # least windows of an offset's mean
_BLOCK = 25  # windows, a second, that the bootstrap keeps together: neighbours are not independent
_RESAMPLES = 200


class AVOffset(NamedTuple):
    """An audio offset.

    Attributes:
        frames: frames by which the audio is later than the video; negative where it is earlier.
        subframe: the offset with a fraction of a frame, by a parabola through three distances.
        distance: mean distance at that offset.
        confidence: median over offsets of the mean distance, minus the smallest.
        prominence: the confidence divided by that median: 0 where no offset stands out, 1 where
            video and audio embed alike. Without unit, so comparable between networks.
        distances: (2 * max_offset + 1,), mean distance at offsets of -max_offset to max_offset
            frames; NaN where there is no audio to compare with.
        stability: fraction of bootstrap resamples of the clip's seconds whose best offset is within
            a frame of `frames`: near 1 where the whole clip agrees.
        windows: number of windows of video.
    """

    frames: int
    subframe: float
    distance: float
    confidence: float
    prominence: float
    distances: np.ndarray
    stability: float = 0.0
    windows: int = 0

    @property
    def at_limit(self) -> bool:
        """Whether the best offset is the largest or smallest tried, so a better may lie beyond."""
        return 2 * abs(self.frames) + 1 >= len(self.distances)


def measure(
    video_embeddings: np.ndarray, audio_embeddings: np.ndarray, mask: np.ndarray, max_offset: int
) -> AVOffset:
    """Finds the offset with the smallest mean distance.

    As Chung & Zisserman 2016, section 4.1, but offsets compare with existing audio only, without
    zeros beyond the ends (`offset_search.offset_search` is the released form), so short clips and
    large offsets are not biased.

    Args:
        video_embeddings: (windows, d), windows one frame apart.
        audio_embeddings: (windows + 2 * max_offset, d); row i + max_offset is at window i's time.
        mask: bool (windows + 2 * max_offset,), whether the row has audio.
        max_offset: largest offset to try, frames, both ways.

    Raises:
        ValueError: the shapes don't fit, or fewer than three offsets have five windows with audio.
    """
    video_embeddings, audio_embeddings, mask = (
        np.asarray(video_embeddings),
        np.asarray(audio_embeddings),
        np.asarray(mask, bool),
    )
    n = len(video_embeddings)
    if video_embeddings.ndim != 2 or audio_embeddings.shape != (
        n + 2 * max_offset,
        *video_embeddings.shape[1:],
    ):
        raise ValueError(
            f"video embeddings {video_embeddings.shape} need audio of {n + 2 * max_offset} windows "
            f"of the same width, not {audio_embeddings.shape}"
        )
    pairs = np.full((n, 2 * max_offset + 1), np.nan)  # the distance of each window at each offset
    for k in range(2 * max_offset + 1):
        known = mask[k : k + n]
        if known.sum() >= _MIN_WINDOWS:
            difference = video_embeddings[known] - audio_embeddings[k : k + n][known]
            pairs[known, k] = np.linalg.norm(difference, axis=1)
    distances = _means(np.nansum(pairs, axis=0), np.isfinite(pairs).sum(axis=0))
    tried = np.flatnonzero(np.isfinite(distances))
    if len(tried) < 3:
        raise ValueError(
            f"{n} windows are too few to find an offset; give at least half a second of one face "
            "with audio"
        )
    best = int(np.nanargmin(distances))
    smallest, median = float(distances[best]), float(np.nanmedian(distances))
    return AVOffset(
        frames=best - max_offset,
        subframe=best - max_offset + _vertex(distances, best),
        distance=smallest,
        confidence=median - smallest,
        prominence=(median - smallest) / median if median > 0 else 0.0,
        distances=distances,
        stability=_stability(pairs, best),
        windows=n,
    )


def _means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _stability(pairs: np.ndarray, best: int) -> float:
    """Bootstraps the best offset over blocks of windows (Kuensch 1989, blocks without overlap).

    Args:
        pairs: (windows, offsets) distances, NaN where there is no audio.
        best: column of the smallest mean.

    Returns:
        The fraction of resamples whose best column is within a frame of `best`.
    """
    starts = np.arange(0, len(pairs), _BLOCK)
    sums = np.add.reduceat(np.nan_to_num(pairs), starts, axis=0)
    counts = np.add.reduceat(np.isfinite(pairs).astype(int), starts, axis=0)
    rng, hits = np.random.default_rng(0), 0
    for _ in range(_RESAMPLES):
        chosen = rng.integers(0, len(starts), len(starts))
        means = _means(sums[chosen].sum(axis=0), counts[chosen].sum(axis=0))
        hits += bool(np.isfinite(means).any()) and abs(int(np.nanargmin(means)) - best) <= TOLERANCE
    return hits / _RESAMPLES


def _vertex(distances: np.ndarray, best: int) -> float:
    """Returns the minimum, from -0.5 to 0.5, of a parabola through the three best values."""
    if not 0 < best < len(distances) - 1:
        return 0.0
    # Distances have a cusp at their minimum, their squares are smooth there.
    before, here, after = np.square(distances[best - 1 : best + 2])
    bend = before - 2 * here + after
    return float((before - after) / (2 * bend)) if np.isfinite(bend) and bend > 0 else 0.0


def offset_accuracy(offsets: Sequence[float], tolerance: float = TOLERANCE) -> float:
    """Computes the fraction of clips with an offset of at most `tolerance` frames.

    Args:
        offsets: frames, one per clip.
        tolerance: largest absolute offset that counts as in sync, frames.

    Returns:
        Between 0 and 1; NaN without clips.
    """
    return float(np.mean(np.abs(offsets) <= tolerance)) if len(offsets) else float("nan")
