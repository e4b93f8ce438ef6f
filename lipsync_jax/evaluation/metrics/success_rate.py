"""Generation success rate."""

from collections.abc import Sequence
from typing import NamedTuple


class SuccessRate(NamedTuple):
    """The fraction of clips that could be scored.

    Attributes:
        rate: fraction of the requested clips, NaN without clips.
        failed: (clip, reason) of the other clips, in order.
    """

    rate: float
    failed: tuple[tuple[str, str], ...]


def success_rate(results: Sequence[tuple[str, str]]) -> SuccessRate:
    """Computes the fraction of clips that were generated, are readable and show a face.

    Means of other metrics are over these clips only, which favours a method that fails on difficult
    clips: report the success rate with them.

    Args:
        results: (clip, reason of the failure, or "" for success).
    """
    failed = tuple((clip, reason) for clip, reason in results if reason)
    rate = 1 - len(failed) / len(results) if results else float("nan")
    return SuccessRate(rate, failed)
