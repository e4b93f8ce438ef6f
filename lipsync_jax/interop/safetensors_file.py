"""Reads safetensors: a JSON header with the position of each tensor, then the tensors."""

import json
import math
import mmap
import struct

import numpy as np

from lipsync_jax.interop import torch_storage
from lipsync_jax.interop.pickles import UnreadableError
from lipsync_jax.interop.torch_storage import SAFETENSORS_DTYPES, Storage, StorageBytes
from lipsync_jax.types import Json

_MAX_HEADER = 100_000_000  # bytes, the limit of the safetensors library
_METADATA = "__metadata__"
_ENTRY_FIELDS = {"dtype", "shape", "data_offsets"}


def read(data: mmap.mmap) -> dict[str, np.ndarray]:
    """Reads the tensors of a memory-mapped file as read-only views.

    Raises:
        UnreadableError: the header is not that of a safetensors file, or does not account for each
            byte once.
        RecursionError, ValueError: the header is no JSON.
    """
    (length,) = struct.unpack_from("<Q", data)
    start = 8 + length
    if length > _MAX_HEADER:
        raise UnreadableError(
            f"is no safetensors file: its header has {length} bytes, more than {_MAX_HEADER}"
        )
    if start > len(data):
        raise UnreadableError(f"is truncated: its header ends at byte {start} of {len(data)}")
    header = json.loads(data[8:start].decode("utf-8"), object_pairs_hook=_reject_duplicate_keys)
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise UnreadableError(f"is damaged: its {_METADATA} is no table of texts")
    body = memoryview(data)[start:]
    spans, tensors = [], {}
    for name, entry in header.items():
        first, last, tensors[name] = _tensor(name, entry, body)
        spans.append((first, last, name))
    position = 0
    for first, last, name in sorted(spans):
        if first != position:
            problem = "overlaps another tensor" if first < position else "follows a gap"
            raise UnreadableError(f"is damaged: its tensor {name} {problem} at byte {first}")
        position = last
    if position != len(body):
        raise UnreadableError(
            f"is damaged: its tensors end at byte {position}, its data at {len(body)}"
        )
    return tensors


def _tensor(name: str, entry: Json, body: memoryview) -> tuple[int, int, np.ndarray]:
    """Returns the first and last byte of a tensor in the file's body, and the tensor."""
    if not isinstance(entry, dict) or entry.keys() != _ENTRY_FIELDS:
        raise UnreadableError(f"is damaged: {name} has not just {', '.join(sorted(_ENTRY_FIELDS))}")
    code = entry["dtype"]
    if not isinstance(code, str) or code not in SAFETENSORS_DTYPES:
        raise UnreadableError(f"has {name} in the type {code}, which is not supported")
    try:
        first, last = torch_storage.whole_numbers(entry["data_offsets"])
        shape = torch_storage.whole_numbers(entry["shape"])
    except (TypeError, ValueError) as error:
        raise UnreadableError(
            f"is damaged: shape or data_offsets of {name} are no whole numbers"
        ) from error
    if last > len(body):
        raise UnreadableError(f"is truncated: {name} ends at byte {last} of {len(body)}")
    dtype = SAFETENSORS_DTYPES[code]
    needed = math.prod(shape) * dtype.itemsize
    if last - first != needed:
        raise UnreadableError(
            f"is damaged: {name} has {last - first} bytes where its shape needs {needed}"
        )
    strides = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
    storage = Storage(StorageBytes(body[first:last]), dtype)
    return first, last, torch_storage.tensor_view(storage, 0, shape, strides)


def _reject_duplicate_keys(items: list[tuple[str, Json]]) -> dict[str, Json]:
    result = dict(items)
    if len(result) < len(items):
        raise UnreadableError("is damaged: its header has a name twice")
    return result
