"""Tensors and storages, common to all file formats of PyTorch."""

import math
import sys
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import cast

import jax.numpy as jnp
import numpy as np

from lipsync_jax.interop import pickles
from lipsync_jax.interop.pickles import AllowedFunction, UnreadableError
from lipsync_jax.types import Argument, Untrusted

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
class StorageType:
    """A type of storage or tensor; wrapped, so that no pickle can call or change the dtype."""

    dtype: np.dtype


@dataclass(frozen=True)
class StorageBytes:
    """The bytes of a storage, in the byte order of the machine that wrote them.

    Attributes:
        data: a part of the mapped file.
        byteorder: `little` or `big`.
    """

    data: memoryview
    byteorder: str = "little"
    _swapped: dict[int, memoryview] = field(default_factory=dict)

    def native(self, dtype: np.dtype) -> memoryview:
        """Returns the bytes in this machine's order; swapped bytes are cached for all tensors."""
        unit = dtype.itemsize // (2 if dtype.kind == "c" else 1)  # bytes per swapped unit
        if unit == 1 or self.byteorder == sys.byteorder:
            return self.data
        if unit not in self._swapped:
            whole = self.data[: len(self.data) // unit * unit]
            values = np.frombuffer(whole, f"u{unit}").byteswap()
            self._swapped[unit] = memoryview(values.data).cast("B").toreadonly()
        return self._swapped[unit]


@dataclass(frozen=True)
class Storage:
    """A contiguous range of memory.

    Attributes:
        contents: the bytes; None while only dtypes are collected.
        dtype: of the values.
        begin, end: range of bytes in `contents`; an end of None is the end of `contents`.
    """

    contents: StorageBytes | None
    dtype: np.dtype
    begin: int = 0
    end: int | None = None


@dataclass(frozen=True)
class StorageId:
    """A pickle's description of a storage: `('storage', type, name, device, count, view)`."""

    dtype: np.dtype
    name: str
    count: int
    view: tuple[int, int] | None  # offset and size, in values, inside the named storage

    @classmethod
    def parse(cls, key: tuple) -> "StorageId":
        """Parses a persistent id."""
        if key[0] == "module":
            raise UnreadableError("is a whole module with its code: save its state_dict() instead")
        kind, storage_type, name, _, count, *view = key
        if (
            kind != "storage"
            or not isinstance(storage_type, StorageType)
            or not isinstance(name, str)
        ):
            raise ValueError("a persistent id is no storage")
        view_range = None
        if view and view[0] is not None:
            view_range = cast(tuple[int, int], whole_numbers(view[0][1:]))
        return cls(storage_type.dtype, name, whole_numbers([count])[0], view_range)

    def storage(self, contents: StorageBytes) -> Storage:
        """Returns the storage with these bytes."""
        size = self.dtype.itemsize
        if len(contents.data) != self.count * size:
            raise ValueError("a storage has another size than its tensors expect")
        if self.view is None:
            return Storage(contents, self.dtype)
        offset, count = self.view
        return Storage(contents, self.dtype, offset * size, (offset + count) * size)


def whole_numbers(values: Sequence[Untrusted]) -> tuple[int, ...]:
    """Checks that sizes or offsets of a file are whole numbers, and returns them."""
    if not isinstance(values, tuple | list):
        raise TypeError("sizes are no list")
    if len(values) > _MAX_DIMENSIONS or not all(
        type(n) is int and 0 <= n < 1 << 63 for n in values
    ):
        raise ValueError("sizes are no whole numbers")
    return tuple(values)


def tensor_view(
    storage: Storage, offset: int, size: tuple, strides: tuple, *rest: Argument
) -> np.ndarray:
    """Returns a tensor of a storage.

    Args:
        storage: of the values.
        offset: index of the first value.
        size: shape of the tensor.
        strides: in values.
        *rest: arguments about gradients; the third, a StorageType, replaces the storage's dtype.

    Returns:
        A read-only view of the storage, or of a copy with swapped bytes.
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
    # Strides of zero could expand a few bytes beyond any memory.
    if math.prod(size) * dtype.itemsize > len(cast(Sized, storage.contents.data.obj)):
        raise UnreadableError(f"has a tensor of the shape {size}, larger than the whole file")
    return np.ndarray(
        size,
        dtype,
        content,
        offset * dtype.itemsize,
        tuple(step * dtype.itemsize for step in strides),
    )


def _first_argument(value: Untrusted, *_: Argument) -> Untrusted:
    return value


ALLOWED_GLOBALS: Mapping[str, Untrusted] = {
    **pickles.ALLOWED_GLOBALS,
    **{
        f"torch._utils._rebuild_tensor{v}": AllowedFunction(tensor_view) for v in ("", "_v2", "_v3")
    },
    "torch._utils._rebuild_parameter": AllowedFunction(_first_argument),
    "torch.Size": AllowedFunction(_first_argument),
    "torch.device": AllowedFunction(_first_argument),
    # Type tags of TorchScript's containers.
    "torch.jit._pickle.restore_type_tag": AllowedFunction(_first_argument),
    **{
        f"torch.jit._pickle.build_{kind}list": AllowedFunction(_first_argument)
        for kind in ("int", "double", "bool", "tensor")
    },
    "torch.storage.UntypedStorage": StorageType(np.dtype(np.uint8)),
    **{f"torch.{storage}Storage": StorageType(_DTYPES[name]) for storage, name, _ in _TYPES},
    **{f"torch.{name}": StorageType(dtype) for name, dtype in _DTYPES.items()},
}
