"""Confidence intervals over clips."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_MAX_INDICES = 1 << 20  # that are in memory at a time: resamples x clips are gigabytes of a corpus


class Interval(NamedTuple):
    """A mean over clips with its confidence interval.

    Attributes:
        mean: NaN without clips.
        low: lower end of the confidence interval.
        high: upper end.
        clips: number of clips with a value.
    """

    mean: float
    low: float
    high: float
    clips: int


def interval(
    values: Sequence[float],
    weights: Sequence[float] | None = None,
    *,
    resamples: int = 1000,
    confidence_level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Computes a weighted mean with a percentile bootstrap over clips.

    Efron & Tibshirani 1993, chapter 13.

    Clips are resampled, not frames, since the frames of a clip are correlated. The interval covers
    the choice of clips; it does not cover other speakers, training runs or test sets.

    Args:
        values: one a clip; values that are not finite are ignored.
        weights: one a clip, e.g. its number of frames; equal when None.
        resamples: number of bootstrap resamples.
        confidence_level: of the interval.
        seed: of the resampling.
    """
    known_values = np.asarray(values, np.float64)
    clip_weights = (
        np.ones(len(known_values)) if weights is None else np.asarray(weights, np.float64)
    )
    known = np.isfinite(known_values) & (clip_weights > 0)
    known_values, clip_weights = known_values[known], clip_weights[known]
    if not len(known_values):
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    mean = float(np.average(known_values, weights=clip_weights))
    rng, totals = np.random.default_rng(seed), known_values * clip_weights
    means: list[np.ndarray] = []
    rows = max(1, _MAX_INDICES // len(totals))
    for first in range(0, resamples, rows):  # the same numbers as all rows at once
        shape = min(rows, resamples - first), len(totals)
        indices = rng.integers(0, len(totals), shape)
        means.append(totals[indices].sum(axis=1) / clip_weights[indices].sum(axis=1))
    low, high = np.quantile(
        np.concatenate(means), [(1 - confidence_level) / 2, (1 + confidence_level) / 2]
    )
    return Interval(mean, float(low), float(high), len(known_values))
