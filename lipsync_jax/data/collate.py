"""Collates examples into batches: of one shape, or padded to one of a few lengths."""

from collections.abc import Mapping, Sequence

import numpy as np

from lipsync_jax.types import Entry

Rows = Sequence[Mapping[str, Entry]]


def stack(rows: Rows) -> dict[str, np.ndarray]:
    """Stacks examples of equal shapes along a new first axis."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def pad_and_stack(
    rows: Rows, names: Sequence[str], lengths: Sequence[int]
) -> dict[str, np.ndarray]:
    """Pads examples with zeros to the shortest sufficient length of some, and stacks them.

    Few lengths make few shapes, and each shape is compiled once.

    Args:
        rows: the examples; the entries `names` have time as their first axis, of equal length
            within an example.
        names: of the entries with a time axis.
        lengths: to choose from, in any order.

    Returns:
        The stacked entries, and `mask`, bool (examples, length), False where padded.

    Raises:
        ValueError: an example is longer than every one of `lengths`.
    """
    row_lengths = [len(row[names[0]]) for row in rows]
    candidates = [length for length in lengths if length >= max(row_lengths)]
    if not candidates:
        raise ValueError(
            f"an example of {max(row_lengths)} frames fits none of the lengths {lengths}"
        )
    length = min(candidates)
    padded = [
        {**row, **{name: _pad_to_length(row[name], length) for name in names}} for row in rows
    ]
    return {**stack(padded), "mask": np.arange(length) < np.array(row_lengths)[:, None]}


def _pad_to_length(values: np.ndarray, length: int) -> np.ndarray:
    return np.pad(values, [(0, length - len(values))] + [(0, 0)] * (values.ndim - 1))
