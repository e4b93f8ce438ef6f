"""Examples -> a batch: of one shape as they are, or of many lengths filled up to a few."""

from collections.abc import Mapping, Sequence

import numpy as np

from lipsync_jax.types import Entry

Rows = Sequence[Mapping[str, Entry]]


def stack(rows: Rows) -> dict[str, np.ndarray]:
    """Examples of equal shapes, side by side along a new first axis."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def stack_padded(rows: Rows, names: Sequence[str], lengths: Sequence[int]) -> dict[str, np.ndarray]:
    """Examples of any length, filled up with zeros to the shortest length that holds them all.

    Few lengths make few shapes, and each shape is compiled once.

    Args:
        rows: the examples; those entries that `names` lists have time as their first axis, the
            same one within an example.
        names: what has a time axis.
        lengths: to choose from, in any order.

    Returns:
        What `stack` returns, and `mask`, bool (examples, length), False where filled up.

    Raises:
        ValueError: an example is longer than all of `lengths`.
    """
    own = [len(row[names[0]]) for row in rows]
    fitting = [length for length in lengths if length >= max(own)]
    if not fitting:
        raise ValueError(f"an example of {max(own)} frames fits none of the lengths {lengths}")
    length = min(fitting)
    padded = [{**row, **{name: _fill(row[name], length) for name in names}} for row in rows]
    return {**stack(padded), "mask": np.arange(length) < np.array(own)[:, None]}


def _fill(values: np.ndarray, length: int) -> np.ndarray:
    return np.pad(values, [(0, length - len(values))] + [(0, 0)] * (values.ndim - 1))
