"""Generation success rate."""

from collections.abc import Sequence
from typing import NamedTuple


class Success(NamedTuple):
    """How many clips were usable.

    Attributes:
        rate: share of the clips asked for, NaN where none was.
        failed: (clip, reason) of the others, in order.
    """

    rate: float
    failed: tuple[tuple[str, str], ...]


def success(outcomes: Sequence[tuple[str, str]]) -> Success:
    """Share of clips that were generated, can be read and show a face in at least one frame.

    Means of other metrics are over those clips only, so they flatter a method that gives up on the
    difficult ones: read them beside this.

    Args:
        outcomes: (clip, reason it failed, or "" where it did not).
    """
    failed = tuple((clip, reason) for clip, reason in outcomes if reason)
    rate = 1 - len(failed) / len(outcomes) if outcomes else float("nan")
    return Success(rate, failed)
