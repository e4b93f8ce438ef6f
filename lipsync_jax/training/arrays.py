"""Reads the arrays of a checkpoint's item: names, shapes and types first, values if these fit.

A few bytes of metadata can claim arrays that exceed the memory, and Orbax allocates them before it
reads further; if one of its reads fails, the others call back into a closed event loop. Untrusted
files are therefore opened with TensorStore, in the layout that Orbax writes.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tensorstore
from flax import traverse_util

from lipsync_jax import paths
from lipsync_jax.text import printable
from lipsync_jax.training import packed
from lipsync_jax.training.model_cards import PACKED_SUFFIX
from lipsync_jax.types import Json, Tree

# Arrays up to this size are accepted at any ratio: new networks are mostly zeros.
_UNCHECKED_BYTES = 1 << 30
# Bytes of larger arrays over their bytes on disk; trained networks have 1.1.
_MAX_COMPRESSION = 16
_MAX_METADATA = 16 << 20  # bytes
_MAX_DEPTH = 32  # nested modules
_KEY = re.compile(r"[\w\-]{1,200}")


class CheckpointError(ValueError):
    """A checkpoint that can't be used; the message names it."""


def shapes(item: Path) -> dict[str, Tree]:
    """Returns the arrays of a checkpoint's item, without their values.

    Args:
        item: a checkpoint's folder of one network, or the network's file in a packed checkpoint.

    Returns:
        The stored tree, of jax.ShapeDtypeStruct.

    Raises:
        CheckpointError: the metadata is damaged, of other than floating-point arrays, or claims far
            more than the files can hold; names the checkpoint.
    """
    item = paths.parse(item)
    if item.suffix == PACKED_SUFFIX:
        return _read_packed(packed.shapes, item)
    return jax.tree.map(_abstract, _open(item))


def read(item: Path) -> dict[str, Tree]:
    """Reads the arrays of a checkpoint's item as numpy arrays, from whatever devices they came.

    Raises:
        CheckpointError: see `shapes`; or an array is damaged.
    """
    item = paths.parse(item)
    if item.suffix == PACKED_SUFFIX:
        return _read_packed(packed.read, item)
    reading = jax.tree.map(lambda store: store.read(), _open(item))
    try:
        return jax.tree.map(lambda value: np.asarray(value.result()), reading)
    except Exception as error:  # whatever TensorStore raises at damaged files
        raise _damaged(item, error) from error


def first_mismatch(found: Mapping[str, Tree], expected: Mapping[str, Tree]) -> str | None:
    """Returns the first array in which a checkpoint and a network differ; None without one.

    Args:
        found: from `shapes`.
        expected: the network's variables, arrays or jax.ShapeDtypeStruct.
    """
    found, expected = (traverse_util.flatten_dict(tree, sep="/") for tree in (found, expected))
    for name in sorted(found.keys() | expected.keys()):
        found_text, expected_text = _describe(found.get(name)), _describe(expected.get(name))
        if found_text != expected_text:
            return (
                f"{printable(name, 80)} is {found_text} in the checkpoint, {expected_text} in the "
                "config"
            )
    return None


def _read_packed(read_file: Callable[[Path], dict[str, Tree]], item: Path) -> dict[str, Tree]:
    try:
        return read_file(item)
    except Exception as error:  # whatever zipfile and NumPy raise at damaged files
        raise _damaged(item, error) from error


def _describe(leaf: Tree) -> str:
    if leaf is None:
        return "absent"
    return f"{'' if leaf.dtype == jnp.float32 else leaf.dtype}{tuple(leaf.shape)}"


def _open(item: Path) -> dict[str, Json]:
    """Opens the arrays of an item without reading them, as a tree of tensorstore.TensorStore."""
    try:
        path = item / "_METADATA"
        if paths.size(path) > _MAX_METADATA:
            raise ValueError(f"_METADATA has more than {_MAX_METADATA >> 20} MB")
        metadata = json.loads(path.read_text(encoding="utf-8"))
        opening = {
            keys: leaf if leaf == {} else tensorstore.open(leaf, open=True, read=True)
            for keys, leaf in _specs(item, metadata).items()
        }
        stores = {keys: x if x == {} else x.result() for keys, x in opening.items()}
        sizes = {keys: _bytes(x) for keys, x in stores.items() if x != {}}
        tree = traverse_util.unflatten_dict(stores)
    except Exception as error:  # whatever JSON and TensorStore raise at damaged files
        raise _damaged(item, error) from error
    claimed, stored = sum(sizes.values()), _bytes_on_disk(item)
    if claimed > max(_UNCHECKED_BYTES, _MAX_COMPRESSION * stored):
        name = "/".join(max(sizes.items(), key=lambda size: size[1])[0])
        raise CheckpointError(
            f"checkpoint {item.parent}: {item.name} claims arrays of {claimed} bytes (the largest "
            f"is {printable(name, 80)}) but has {stored} bytes on disk; it is damaged or made to "
            "exhaust the memory: copy the folder again"
        )
    return tree


def _specs(item: Path, metadata: Mapping[str, Json]) -> dict[tuple[str, ...], Json]:
    """Returns the keys of each leaf -> its TensorStore spec, {} for an empty dict."""
    specs: dict[tuple[str, ...], Tree] = {}
    base = paths.kvstore(item)
    driver = "zarr3" if metadata.get("use_zarr3") else "zarr"
    for entry in metadata["tree_metadata"].values():
        keys = tuple(str(part["key"]) for part in entry["key_metadata"])
        if not 0 < len(keys) <= _MAX_DEPTH or not all(map(_KEY.fullmatch, keys)):
            raise ValueError("_METADATA has a name that no array has")
        name = ".".join(keys)
        if entry["value_metadata"].get("skip_deserialize"):
            specs[keys] = {}
        elif metadata.get("use_ocdbt", True):
            store = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
            specs[keys] = {"driver": driver, "kvstore": store}
        else:
            store = {**base, "path": f"{base['path']}{name}/"}
            specs[keys] = {"driver": driver, "kvstore": store}
    return specs


def _bytes(store: tensorstore.TensorStore) -> int:
    """Returns the bytes that reading takes; chunks are unpacked whole, even beyond the array."""
    chunk = store.chunk_layout.read_chunk.shape or ()
    dtype = store.dtype.numpy_dtype
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"an array is of the type {dtype}, not of floating-point numbers")
    return dtype.itemsize * max(math.prod(store.shape), math.prod(size or 0 for size in chunk))


def _abstract(store: tensorstore.TensorStore) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(store.shape, store.dtype.numpy_dtype)


def _bytes_on_disk(folder: Path) -> int:
    return sum(paths.files(folder).values())


def _damaged(item: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {item.parent}: the arrays of {item.name} are damaged "
        f"({printable(str(error) or type(error).__name__, 300)}); copy the folder again, or "
        "convert or train it again"
    )
