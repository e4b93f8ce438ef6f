"""Confidence intervals over clips."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean over clips.

    Attributes:
        mean: NaN without clips.
        low: lower end of the confidence interval.
        high: upper end.
        clips: how many had a value.
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
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Weighted mean with a percentile bootstrap over clips (Efron & Tibshirani 1993, chapter 13).

    Clips are drawn, not frames, since the frames of a clip are alike. It says how far other clips
    of the same kind would move the mean; nothing of other speakers, other training runs or
    other test sets.

    Args:
        values: one a clip; those that aren't finite don't count.
        weights: one a clip, e.g. its frames; all the same when None.
        resamples: how many.
        level: of confidence.
        seed: the same seed gives the same interval.
    """
    given = np.asarray(values, np.float64)
    shares = np.ones(len(given)) if weights is None else np.asarray(weights, np.float64)
    known = np.isfinite(given) & (shares > 0)
    given, shares = given[known], shares[known]
    if not len(given):
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    mean = float(np.average(given, weights=shares))
    drawn = np.random.default_rng(seed).integers(0, len(given), (resamples, len(given)))
    means = (given * shares)[drawn].sum(axis=1) / shares[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), len(given))
