"""The arrays of a checkpoint's item: names, shapes and types first, values when these fit.

A few bytes can claim arrays that no memory holds, and Orbax makes room for them before it looks
further; where one of its reads fails, the others call back into a loop that is gone. So files of
strangers are opened with TensorStore, as Orbax lays them out.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tensorstore
from flax import traverse_util

from lipsync_jax.text import printable
from lipsync_jax.types import Json, Tree

_FREE = (
    1 << 30
)  # bytes of arrays that need no proof: new networks are mostly zeros, which pack well
_PACKED = 16  # times its bytes on disk that a larger network may have; trained ones have 1.1
_MAX_METADATA = 16 << 20  # bytes
_MAX_DEPTH = 32  # of modules within each other
_KEY = re.compile(r"[\w\-]{1,200}")


class CheckpointError(ValueError):
    """A checkpoint that can't be used; the message names it."""


def shapes(item: Path) -> dict[str, Tree]:
    """The arrays of a checkpoint's item, without their values.

    Args:
        item: a checkpoint's folder of one player.

    Returns:
        The tree that is stored, of jax.ShapeDtypeStruct.

    Raises:
        CheckpointError: the metadata is damaged, of other than floating-point arrays, or claims far
            more than the files can hold; names the checkpoint.
    """
    return jax.tree.map(_abstract, _open(Path(item)))


def read(item: Path) -> dict[str, Tree]:
    """The same with their values, as numpy arrays, whatever devices they were saved from.

    Raises:
        CheckpointError: see `shapes`; or an array is damaged.
    """
    item = Path(item)
    reading = jax.tree.map(lambda store: store.read(), _open(item))
    try:
        return jax.tree.map(lambda value: np.asarray(value.result()), reading)
    except Exception as error:  # whatever TensorStore raises at damaged files
        raise _damaged(item, error) from error


def difference(found: Mapping[str, Tree], wanted: Mapping[str, Tree]) -> str | None:
    """The first array that a checkpoint and a network do not have alike, None if there is none.

    Args:
        found: of `shapes`.
        wanted: the network's variables, arrays or jax.ShapeDtypeStruct.
    """
    found, wanted = (traverse_util.flatten_dict(tree, sep="/") for tree in (found, wanted))
    for name in sorted(found.keys() | wanted.keys()):
        here, there = _said(found.get(name)), _said(wanted.get(name))
        if here != there:
            return f"{printable(name, 80)} is {here} in the checkpoint, {there} in the config"
    return None


def _said(leaf: Tree) -> str:
    if leaf is None:
        return "absent"
    return f"{'' if leaf.dtype == jnp.float32 else leaf.dtype}{tuple(leaf.shape)}"


def _open(item: Path) -> dict[str, Json]:
    """The tree of an item, of tensorstore.TensorStore: opened, but not read."""
    try:
        path = item / "_METADATA"
        if path.stat().st_size > _MAX_METADATA:
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
    if claimed > max(_FREE, _PACKED * stored):
        name = "/".join(max(sizes.items(), key=lambda size: size[1])[0])
        raise CheckpointError(
            f"checkpoint {item.parent}: {item.name} claims arrays of {claimed} bytes (the largest "
            f"is {printable(name, 80)}) but has {stored} bytes on disk; it is damaged or made to "
            "fill the memory: copy the folder again"
        )
    return tree


def _specs(item: Path, metadata: Mapping[str, Json]) -> dict[tuple[str, ...], Json]:
    """Keys of each leaf -> its TensorStore spec, {} for an empty dict."""
    found: dict[tuple[str, ...], Tree] = {}
    driver = "zarr3" if metadata.get("use_zarr3") else "zarr"
    for entry in metadata["tree_metadata"].values():
        keys = tuple(str(part["key"]) for part in entry["key_metadata"])
        if not 0 < len(keys) <= _MAX_DEPTH or not all(map(_KEY.fullmatch, keys)):
            raise ValueError("_METADATA has a name that no array has")
        name = ".".join(keys)
        if entry["value_metadata"].get("skip_deserialize"):
            found[keys] = {}
        elif metadata.get("use_ocdbt", True):
            base = {"driver": "file", "path": f"{os.path.abspath(item)}/"}
            store = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
            found[keys] = {"driver": driver, "kvstore": store}
        else:
            store = {"driver": "file", "path": f"{os.path.abspath(item)}/{name}/"}
            found[keys] = {"driver": driver, "kvstore": store}
    return found


def _bytes(store: tensorstore.TensorStore) -> int:
    """What reading it takes; a chunk is unpacked whole, even one larger than the array."""
    chunk = store.chunk_layout.read_chunk.shape or ()
    dtype = store.dtype.numpy_dtype
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"an array is of the type {dtype}, not of floating-point numbers")
    return dtype.itemsize * max(math.prod(store.shape), math.prod(size or 0 for size in chunk))


def _abstract(store: tensorstore.TensorStore) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(store.shape, store.dtype.numpy_dtype)


def _bytes_on_disk(folder: Path) -> int:
    files = (os.path.join(at, name) for at, _, names in os.walk(folder) for name in names)
    return sum(os.path.getsize(file) for file in files if os.path.isfile(file))


def _damaged(item: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {item.parent}: the arrays of {item.name} are damaged "
        f"({printable(str(error) or type(error).__name__, 300)}); copy the folder again, or "
        "convert or train it anew"
    )
