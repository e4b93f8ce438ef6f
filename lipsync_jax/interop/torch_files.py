"""Reads PyTorch's files with NumPy alone: no code is executed, tensors are memory-mapped views.

    tensors = state_dict(read("wav2lip.pth"))

Formats: the zip archive of `torch.save` since PyTorch 1.6, the sequence of pickles before
that version, TorchScript archives (their attributes, not their code), and safetensors.
"""

import functools
import io
import mmap
import os
import re
import struct
import zipfile
from collections.abc import Callable
from typing import IO, cast

import numpy as np

from lipsync_jax.interop import pickles, safetensors_file, torch_storage
from lipsync_jax.interop.pickles import AllowedFunction, ScriptModule, UnreadableError
from lipsync_jax.interop.torch_storage import Storage, StorageBytes, StorageId
from lipsync_jax.text import printable
from lipsync_jax.types import Untrusted

_MAX_QUOTED_CHARACTERS = 300  # characters that an error quotes of a file
_MAX_EXPANSION = 4  # limit of the tensors' total size over the file's: some are shared
_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of the older format


def read(path: str | os.PathLike) -> Untrusted:
    """Reads the object that was saved in a file.

    Args:
        path: a file of PyTorch or safetensors.

    Returns:
        Dicts, lists, tuples, strings, numbers and None, with NumPy arrays for tensors; bfloat16
        as in ml_dtypes. Tensors are read-only views of the mapped file; tensors that shared memory
        still do. TorchScript modules become `ScriptModule`, a dict of their attributes.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is of another format, truncated, damaged, or names code that no
            checkpoint needs.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"checkpoint {path} does not exist or is no file")
    if not os.path.getsize(path):
        raise ValueError(f"checkpoint {path} is empty: fetch it again")
    with open(path, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        return _reader(data)(data)
    except UnreadableError as error:
        raise ValueError(f"checkpoint {path} {printable(error, _MAX_QUOTED_CHARACTERS)}") from error
    # All errors that the parsers below raise for invalid bytes.
    except (
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        NotImplementedError,
        RuntimeError,
        TypeError,
        ValueError,
        struct.error,
        zipfile.BadZipFile,
    ) as error:
        reason = printable(str(error).rstrip(".") or type(error).__name__, _MAX_QUOTED_CHARACTERS)
        raise ValueError(
            f"checkpoint {path} is damaged or truncated ({reason}): fetch it again"
        ) from error


def state_dict(tree: Untrusted) -> dict[str, np.ndarray]:
    """Returns the tensors, by name, of an object that `read` returned.

    Args:
        tree: a state dict; a dict that has one as `state_dict`; or a TorchScript module, whose
            parameters and buffers are named by their dotted path.

    Raises:
        ValueError: `tree` is none of these.
    """
    if isinstance(tree, dict) and isinstance(tree.get("state_dict"), dict):
        tree = tree["state_dict"]
    if not isinstance(tree, dict):
        raise ValueError(f"it contains a {type(tree).__name__}, no state dict")
    tensors, visited, pending = {}, set(), [("", tree)]
    while pending:
        prefix, module = pending.pop()
        if id(module) in visited:  # ends the traversal of a malicious file with cycles
            raise ValueError(f"it has the module {prefix} in two places")
        visited.add(id(module))
        for name, value in module.items():
            if isinstance(value, np.ndarray):
                tensors[f"{prefix}{name}"] = value
            elif isinstance(value, ScriptModule):
                pending.append((f"{prefix}{name}.", value))
    if not tensors:
        keys = ", ".join(str(key)[:40] for key in list(tree)[:5]) or "nothing"
        raise ValueError(f"it contains no state dict; its top-level keys are {keys}")
    return tensors


def _reader(data: mmap.mmap) -> Callable[[mmap.mmap], Untrusted]:
    """Returns the reader of the format that the first bytes indicate."""
    head = data[:512]
    if head.startswith(b"PK"):
        return _read_zip
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 40:
        return safetensors_file.read
    if head.startswith(b"\x80") or re.match(rb"\(?c[\w.]+\n[\w.]+\n", head):
        return _read_legacy
    text = head.lstrip().lower()
    if text.startswith(b"version https://git-lfs"):
        raise UnreadableError("is a Git LFS pointer, not the file it names: run `git lfs pull`")
    if text.startswith((b"<!doctype", b"<html")):
        raise UnreadableError("is a web page, saved in place of the file: download the file again")
    if head[257:262] == b"ustar":
        raise UnreadableError("is a tar archive; if PyTorch 0.1 wrote it, save it with a newer one")
    raise UnreadableError("is neither a file of PyTorch's nor safetensors")


def _read_zip(data: mmap.mmap) -> Untrusted:
    try:
        members = {
            member.filename: member for member in zipfile.ZipFile(cast(IO[bytes], data)).infolist()
        }
    except (ValueError, zipfile.BadZipFile) as error:
        raise UnreadableError(
            "is truncated or damaged: it begins as a zip archive, but the directory at the end "
            "of one is missing; fetch it again"
        ) from error
    names = [name for name in members if name.split("/")[1:] == ["data.pkl"]]
    if len(names) != 1:
        raise UnreadableError("is a zip archive, but none of PyTorch's: it has no data.pkl")
    root = names[0].removesuffix("data.pkl")
    if sum(member.file_size for member in members.values()) > len(data):
        raise UnreadableError("is damaged: its members are larger than the file")
    byteorder = "little"
    if f"{root}byteorder" in members:
        byteorder = bytes(_member(data, members[f"{root}byteorder"])[:16]).decode()
    if byteorder not in ("little", "big"):
        raise UnreadableError(f"is damaged: its byteorder is {byteorder!r}")

    @functools.cache
    def contents(name: str) -> StorageBytes:
        return StorageBytes(_member(data, members[f"{root}data/{name}"]), byteorder)

    def persistent_load(key: Untrusted) -> Storage:
        storage_id = StorageId.parse(key)
        return storage_id.storage(contents(storage_id.name))

    code = io.BytesIO(_member(data, members[names[0]]))
    return pickles.load(code, _find_class, persistent_load, _memory_limit(data))


def _memory_limit(data: mmap.mmap) -> int:
    """Returns the limit of the total size of a file's tensors, bytes."""
    return _MAX_EXPANSION * len(data) + pickles.BASE_MEMORY_LIMIT


def _member(data: mmap.mmap, member: zipfile.ZipInfo) -> memoryview:
    """Returns a view of a member's bytes; PyTorch stores the members read here uncompressed."""
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        raise UnreadableError(f"has {member.filename} compressed: save it again with PyTorch")
    start = member.header_offset
    signature, name, extra = struct.unpack_from("<4s22xHH", data, start)
    start += 30 + name + extra
    if signature != b"PK\3\4" or start + member.file_size > len(data):
        raise UnreadableError(f"is damaged: {member.filename} is not at its position")
    return memoryview(data)[start : start + member.file_size]


def _read_legacy(data: mmap.mmap) -> Untrusted:
    """Reads pickles of magic number, version, system, object and storage names; then the storages.

    The object precedes its storages, so it is read twice, first for the dtypes of the storages.
    All numbers are little-endian on every machine.
    """
    if pickles.load(data, _find_class, None) != _MAGIC:
        raise UnreadableError("is a pickle, but none of PyTorch's")
    for _ in ("version", "system"):
        pickles.load(data, _find_class, None)
    begin = data.tell()
    dtypes: dict[str, np.dtype] = {}
    contents: dict[str, StorageBytes] = {}

    def record_dtype(key: Untrusted) -> Storage:
        storage_id = StorageId.parse(key)
        dtypes[storage_id.name] = storage_id.dtype
        return Storage(None, storage_id.dtype)

    def persistent_load(key: Untrusted) -> Storage:
        storage_id = StorageId.parse(key)
        return storage_id.storage(contents[storage_id.name])

    pickles.load(data, _find_class, record_dtype)
    names = pickles.load(data, _find_class, None)
    position = data.tell()
    for name in names:
        if not isinstance(name, str):
            raise TypeError("a storage's name is no text")
        if position + 8 > len(data):
            raise UnreadableError(f"is truncated: the file ends before storage {name}")
        (count,) = torch_storage.whole_numbers(struct.unpack_from("<q", data, position))
        end = position + 8 + count * dtypes[name].itemsize
        if end > len(data):
            raise UnreadableError(f"is truncated: it has {len(data)} of at least {end} bytes")
        contents[name] = StorageBytes(memoryview(data)[position + 8 : end])
        position = end
    data.seek(begin)
    return pickles.load(data, _find_class, persistent_load, _memory_limit(data))


def _find_class(name: str) -> Untrusted:
    if name.startswith("__torch__."):  # a TorchScript class; its code stays in the archive
        return AllowedFunction(lambda *_: ScriptModule())
    if name not in torch_storage.ALLOWED_GLOBALS:
        raise UnreadableError(
            f"names {name}, which no tensor needs, so the file was not read and no code in it was "
            "executed; if you trust the file, save only the state_dict() of its network"
        )
    return torch_storage.ALLOWED_GLOBALS[name]
