"""Collates examples into batches: of one shape, or padded to one of a few lengths."""

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lipsync_jax.types import Entry

Rows = Sequence[Mapping[str, Entry]]

# A segment of shared memory for each label would cost more than its copy.
MIN_SHARED_BYTES = 1 << 16

_SHARED_MEMORY = Path("/dev/shm")  # on Linux
_stacks_shared = False


def share_memory() -> None:
    """Makes `stack` allocate in shared memory from now on, for a process that sends its batches."""
    global _stacks_shared
    _stacks_shared = True


def stack(rows: Rows) -> dict[str, np.ndarray]:
    """Stacks examples of equal shapes along a new first axis."""
    return {name: _stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}


def _stack(values: Sequence[np.ndarray]) -> np.ndarray:
    if not _stacks_shared:
        return np.stack(values)
    from grain.multiprocessing import SharedMemoryArray

    shape, dtype = (len(values), *values[0].shape), np.result_type(*values)
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or size < MIN_SHARED_BYTES:
        return np.stack(values)
    _check_free(size)
    return np.stack(values, out=SharedMemoryArray(shape, dtype))


def shared_memory() -> tuple[int, int] | None:
    """Returns this system's shared memory, all and free bytes; None where it is not a folder."""
    if not _SHARED_MEMORY.is_dir():
        return None
    usage = shutil.disk_usage(_SHARED_MEMORY)
    return usage.total, usage.free


def _check_free(size: int) -> None:
    """Raises OSError where shared memory is too small: writing to it would kill the process."""
    total, free = shared_memory() or (size, size)
    if size > free:
        raise OSError(
            f"worker processes hand over batches in {_SHARED_MEMORY}, which has "
            f"{total / 1e6:.0f} MB, {free / 1e6:.0f} of them free; an array of a batch takes "
            f"{size / 1e6:.0f} MB. Make it larger (docker run --shm-size=8g), or "
            "give fewer --config.data.num_workers (0: none)"
        )


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
