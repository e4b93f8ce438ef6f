"""Checkpoints small enough to ship: a folder of `model_card.json` and one `<network>.npz` each.

Arrays are stored in half precision, uncompressed, under names like `params/head/kernel`, and are
read as float32. `inference` reads such a folder wherever it reads one that Orbax wrote.
"""

import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from lipsync_jax import paths
from lipsync_jax.training import model_cards
from lipsync_jax.training.model_cards import PACKED_SUFFIX
from lipsync_jax.types import Json, Tree

_MAX_HEADER = 10_000  # bytes of an array's header


def write(
    folder: Path, variables: Mapping[str, Mapping[str, Tree]], model_card: Mapping[str, Json]
) -> None:
    """Writes a packed checkpoint.

    Args:
        folder: made if missing; files of equal names are replaced.
        variables: network name -> {"params": ..., "batch_stats": ...}.
        model_card: JSON values; `model_card["config"]` must rebuild the networks. `sha256` and
            `bytes` of each file, and the checkpoint's format, are added.

    Raises:
        ValueError: a value is not finite in half precision; names the array.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digests, sizes = {}, {}
    for name, tree in variables.items():
        halves: dict[str, Any] = {}
        for key, value in traverse_util.flatten_dict(dict(tree), sep="/").items():
            with np.errstate(over="ignore"):
                halves[key] = np.asarray(value).astype(np.float16)
            if not np.isfinite(halves[key]).all():
                raise ValueError(f"{name}/{key} has values that half precision cannot hold")
        file = folder / f"{name}{PACKED_SUFFIX}"
        np.savez(file, **halves)
        digests[file.name] = paths.sha256(file)
        sizes[file.name] = file.stat().st_size
    content = {**model_card, **model_cards.stamp(), "sha256": digests, "bytes": sizes}
    text = json.dumps(content, indent=1)
    (folder / model_cards.PACKED).write_text(text + "\n", encoding="utf-8")


def shapes(file: Path) -> dict[str, Tree]:
    """Returns the arrays of a network's file as jax.ShapeDtypeStruct of float32.

    Raises:
        ValueError, OSError, zipfile.BadZipFile: the file is damaged or missing.
    """
    found = {}
    with file.open("rb") as stream, zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > paths.size(file):
            raise ValueError("its arrays claim more bytes than the file has")
        for entry in entries:
            with archive.open(entry) as member:
                version = np.lib.format.read_magic(member)
                if version != (1, 0):
                    raise ValueError(f"{entry.filename} is of version {version}, expected (1, 0)")
                shape, _, dtype = np.lib.format.read_array_header_1_0(member, _MAX_HEADER)
                start = member.tell()
            stored = entry.compress_type == zipfile.ZIP_STORED
            if dtype != np.float16 or not stored:
                raise ValueError(f"{entry.filename} is not uncompressed half precision")
            if start + 2 * math.prod(shape) != entry.file_size:
                raise ValueError(f"{entry.filename} has not the bytes of its shape {shape}")
            name = entry.filename.removesuffix(".npy")
            found[name] = jax.ShapeDtypeStruct(shape, np.float32)
    return _tree(found)


def read(file: Path) -> dict[str, Tree]:
    """Reads the arrays of a network's file as float32.

    Raises:
        ValueError, OSError, zipfile.BadZipFile: see `shapes`; or a checksum is wrong.
    """
    shapes(file)
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        return _tree({name: stored[name].astype(np.float32) for name in stored.files})


def _tree(flat: Mapping[str, Tree]) -> dict[str, Tree]:
    tree = traverse_util.unflatten_dict(dict(flat), sep="/")
    return {"batch_stats": {}, **tree}
