"""Tensors of PyTorch's storages: what all of its formats have in common."""

import math
import sys
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import cast

import jax.numpy as jnp
import numpy as np

from lipsync_jax.interop import pickles
from lipsync_jax.interop.pickles import Function, UnreadableError
from lipsync_jax.types import Argument, Foreign

# PyTorch's storage class and its dtype, safetensors' code.
_TYPES = (
    ("Double", "float64", "F64"),
    ("Float", "float32", "F32"),
    ("Half", "float16", "F16"),
    ("BFloat16", "bfloat16", "BF16"),
    ("Long", "int64", "I64"),
    ("Int", "int32", "I32"),
    ("Short", "int16", "I16"),
    ("Char", "int8", "I8"),
    ("UInt64", "uint64", "U64"),
    ("UInt32", "uint32", "U32"),
    ("UInt16", "uint16", "U16"),
    ("Byte", "uint8", "U8"),
    ("Bool", "bool", "BOOL"),
    ("ComplexFloat", "complex64", "C64"),
    ("ComplexDouble", "complex128", "C128"),
)
_DTYPES = {name: np.dtype(getattr(jnp, name)) for _, name, _ in _TYPES}
SAFETENSORS_DTYPES = {code: _DTYPES[name] for _, name, code in _TYPES}
_MAX_DIMENSIONS = 32


@dataclass(frozen=True)
class Type:
    """A type of storage or tensor; wrapped, so that no pickle can call or change it."""

    dtype: np.dtype


@dataclass(frozen=True)
class Contents:
    """The bytes of a storage, in the order of the machine that wrote them.

    Attributes:
        data: a part of the mapped file.
        byteorder: `little` or `big`.
    """

    data: memoryview
    byteorder: str = "little"
    _swapped: dict[int, memoryview] = field(default_factory=dict)

    def native(self, dtype: np.dtype) -> memoryview:
        """The bytes in this machine's order; where they must be swapped, once for all tensors."""
        unit = dtype.itemsize // (2 if dtype.kind == "c" else 1)  # bytes of what is swapped
        if unit == 1 or self.byteorder == sys.byteorder:
            return self.data
        if unit not in self._swapped:
            whole = self.data[: len(self.data) // unit * unit]
            values = np.frombuffer(whole, f"u{unit}").byteswap()
            self._swapped[unit] = memoryview(values.data).cast("B").toreadonly()
        return self._swapped[unit]


@dataclass(frozen=True)
class Storage:
    """A run of memory.

    Attributes:
        contents: None while only dtypes are gathered.
        dtype: of its values.
        begin, end: the bytes of `contents` that it has; None for all to the last.
    """

    contents: Contents | None
    dtype: np.dtype
    begin: int = 0
    end: int | None = None


@dataclass(frozen=True)
class StorageId:
    """What a pickle says of a storage: `('storage', type, name, device, count, view)`."""

    dtype: np.dtype
    name: str
    count: int
    view: tuple[int, int] | None  # offset and size, in values, inside the named storage

    @classmethod
    def parse(cls, key: tuple) -> "StorageId":
        """Of a persistent id."""
        if key[0] == "module":
            raise UnreadableError("is a whole module with its code: save its state_dict() instead")
        kind, storage_type, name, _, count, *view = key
        if kind != "storage" or not isinstance(storage_type, Type) or not isinstance(name, str):
            raise ValueError("something is stored that is no storage")
        inside = None
        if view and view[0] is not None:
            inside = cast(tuple[int, int], whole_numbers(view[0][1:]))
        return cls(storage_type.dtype, name, whole_numbers([count])[0], inside)

    def storage(self, contents: Contents) -> Storage:
        """The storage whose bytes are found."""
        size = self.dtype.itemsize
        if len(contents.data) != self.count * size:
            raise ValueError("a storage has another size than its tensors expect")
        if self.view is None:
            return Storage(contents, self.dtype)
        offset, count = self.view
        return Storage(contents, self.dtype, offset * size, (offset + count) * size)


def whole_numbers(values: Sequence[Foreign]) -> tuple[int, ...]:
    """Sizes and offsets that a file gives, if that is what they are."""
    if not isinstance(values, tuple | list):
        raise TypeError("sizes are no list")
    if len(values) > _MAX_DIMENSIONS or not all(
        type(n) is int and 0 <= n < 1 << 63 for n in values
    ):
        raise ValueError("sizes are no whole numbers")
    return tuple(values)


def tensor(
    storage: Storage, offset: int, size: tuple, strides: tuple, *rest: Argument
) -> np.ndarray:
    """A tensor of a storage.

    Args:
        storage: where its values are.
        offset: of the first, in values.
        size: its shape.
        strides: in values.
        rest: about gradients; the third is a Type other than the storage's.

    Returns:
        A read-only view of the storage, or of one copy of it if its bytes are in the other order.
    """
    dtype = rest[2].dtype if len(rest) > 2 else storage.dtype
    if storage.contents is None:
        return np.empty(0, dtype)
    (offset,), size, strides = map(whole_numbers, ([offset], size, strides))
    if 0 in size:
        return np.empty(size, dtype)
    content = storage.contents.native(dtype)[storage.begin : storage.end]
    last = offset + sum((n - 1) * step for n, step in zip(size, strides, strict=True))
    if (last + 1) * dtype.itemsize > len(content):
        raise UnreadableError(f"has a tensor of the shape {size} that leaves its storage")
    # Strides of zero could make of a few bytes what no memory holds.
    if math.prod(size) * dtype.itemsize > len(cast(Sized, storage.contents.data.obj)):
        raise UnreadableError(f"has a tensor of the shape {size}, larger than the whole file")
    return np.ndarray(
        size,
        dtype,
        content,
        offset * dtype.itemsize,
        tuple(step * dtype.itemsize for step in strides),
    )


def _same(value: Foreign, *_: Argument) -> Foreign:
    return value


NAMES: Mapping[str, Foreign] = {
    **pickles.NAMES,
    **{f"torch._utils._rebuild_tensor{v}": Function(tensor) for v in ("", "_v2", "_v3")},
    "torch._utils._rebuild_parameter": Function(_same),
    "torch.Size": Function(_same),
    "torch.device": Function(_same),
    # TorchScript says what its containers hold.
    "torch.jit._pickle.restore_type_tag": Function(_same),
    **{
        f"torch.jit._pickle.build_{kind}list": Function(_same)
        for kind in ("int", "double", "bool", "tensor")
    },
    "torch.storage.UntypedStorage": Type(np.dtype(np.uint8)),
    **{f"torch.{storage}Storage": Type(_DTYPES[name]) for storage, name, _ in _TYPES},
    **{f"torch.{name}": Type(dtype) for name, dtype in _DTYPES.items()},
}
