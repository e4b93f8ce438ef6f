"""Reads PyTorch's files with NumPy alone: nothing in them is run, tensors are mapped, not copied.

    tensors = state_dict(read("wav2lip.pth"))

Formats: the zip archive that `torch.save` writes since 1.6, the row of pickles that it wrote
before, TorchScript archives (their attributes, not their code), and safetensors.
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

from lipsync_jax.interop import pickles, safetensors_file, storages
from lipsync_jax.interop.pickles import Function, Module, UnreadableError
from lipsync_jax.interop.storages import Contents, Storage, StorageId
from lipsync_jax.text import printable
from lipsync_jax.types import Foreign

_MESSAGE = 300  # characters that an error quotes of a file
_EXPANSION = 4  # times a file's size that its tensors may have in all: some are shared
_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of the older format


def read(path: str | os.PathLike) -> Foreign:
    """What was saved in a file.

    Args:
        path: a file of PyTorch or safetensors.

    Returns:
        Dicts, lists, tuples, strings, numbers and None, with NumPy arrays for tensors; bfloat16
        as ml_dtypes has it. Tensors are read-only views of the mapped file; those that shared
        memory still do. Modules of TorchScript are `Module`, a dict of their attributes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is of another format, truncated, damaged, or names code that a checkpoint
            has no need of.
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
        raise ValueError(f"checkpoint {path} {printable(error, _MESSAGE)}") from error
    # All that the parsers below raise at bytes that mean nothing.
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
        reason = printable(str(error).rstrip(".") or type(error).__name__, _MESSAGE)
        raise ValueError(
            f"checkpoint {path} is damaged or truncated ({reason}): fetch it again"
        ) from error


def state_dict(tree: Foreign) -> dict[str, np.ndarray]:
    """The tensors of what `read` returned, by name.

    Args:
        tree: a state dict; a dict that has one as `state_dict`; or a TorchScript module, whose
            parameters and buffers are named by their dotted path.

    Raises:
        ValueError: it is none of these.
    """
    if isinstance(tree, dict) and isinstance(tree.get("state_dict"), dict):
        tree = tree["state_dict"]
    if not isinstance(tree, dict):
        raise ValueError(f"it holds a {type(tree).__name__}, no state dict")
    found, seen, left = {}, set(), [("", tree)]
    while left:
        prefix, module = left.pop()
        if id(module) in seen:  # bounds the walk through a file made to trap it
            raise ValueError(f"it has the module {prefix} in two places")
        seen.add(id(module))
        for name, value in module.items():
            if isinstance(value, np.ndarray):
                found[f"{prefix}{name}"] = value
            elif isinstance(value, Module):
                left.append((f"{prefix}{name}.", value))
    if not found:
        keys = ", ".join(str(key)[:40] for key in list(tree)[:5]) or "nothing"
        raise ValueError(f"it holds no state dict; at its top are {keys}")
    return found


def _reader(data: mmap.mmap) -> Callable[[mmap.mmap], Foreign]:
    """The format's reader, by the first bytes."""
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
        raise UnreadableError("is a web page, saved in place of the file: fetch it again")
    if head[257:262] == b"ustar":
        raise UnreadableError("is a tar archive; if PyTorch 0.1 wrote it, save it with a newer one")
    raise UnreadableError("is neither a file of PyTorch's nor safetensors")


def _read_zip(data: mmap.mmap) -> Foreign:
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
        raise UnreadableError("is damaged: what it holds is larger than itself")
    byteorder = "little"
    if f"{root}byteorder" in members:
        byteorder = bytes(_member(data, members[f"{root}byteorder"])[:16]).decode()
    if byteorder not in ("little", "big"):
        raise UnreadableError(f"is damaged: its byteorder is {byteorder!r}")

    @functools.cache
    def contents(name: str) -> Contents:
        return Contents(_member(data, members[f"{root}data/{name}"]), byteorder)

    def persistent(key: Foreign) -> Storage:
        found = StorageId.parse(key)
        return found.storage(contents(found.name))

    code = io.BytesIO(_member(data, members[names[0]]))
    return pickles.load(code, _find, persistent, _limit(data))


def _limit(data: mmap.mmap) -> int:
    """Bytes that the tensors of a file may have in all."""
    return _EXPANSION * len(data) + pickles.SPARE


def _member(data: mmap.mmap, member: zipfile.ZipInfo) -> memoryview:
    """A member's bytes, in place: PyTorch compresses none that are read here."""
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        raise UnreadableError(f"has {member.filename} compressed: save it again with PyTorch")
    start = member.header_offset
    signature, name, extra = struct.unpack_from("<4s22xHH", data, start)
    start += 30 + name + extra
    if signature != b"PK\3\4" or start + member.file_size > len(data):
        raise UnreadableError(f"is damaged: {member.filename} is not where it should be")
    return memoryview(data)[start : start + member.file_size]


def _read_legacy(data: mmap.mmap) -> Foreign:
    """Pickles of magic number, version, system, the object, storage names; then the storages.

    The object comes before its storages, so it is read twice: the first time for their dtypes.
    All numbers are little-endian, whatever machine wrote them.
    """
    if pickles.load(data, _find, None) != _MAGIC:
        raise UnreadableError("is a pickle, but none of PyTorch's")
    for _ in ("version", "system"):
        pickles.load(data, _find, None)
    begin = data.tell()
    dtypes: dict[str, np.dtype] = {}
    contents: dict[str, Contents] = {}

    def note(key: Foreign) -> Storage:
        found = StorageId.parse(key)
        dtypes[found.name] = found.dtype
        return Storage(None, found.dtype)

    def persistent(key: Foreign) -> Storage:
        found = StorageId.parse(key)
        return found.storage(contents[found.name])

    pickles.load(data, _find, note)
    names = pickles.load(data, _find, None)
    position = data.tell()
    for name in names:
        if not isinstance(name, str):
            raise TypeError("a storage's name is no text")
        if position + 8 > len(data):
            raise UnreadableError(f"is truncated: it ends before its storage {name}")
        (count,) = storages.whole_numbers(struct.unpack_from("<q", data, position))
        end = position + 8 + count * dtypes[name].itemsize
        if end > len(data):
            raise UnreadableError(f"is truncated: it has {len(data)} of at least {end} bytes")
        contents[name] = Contents(memoryview(data)[position + 8 : end])
        position = end
    data.seek(begin)
    return pickles.load(data, _find, persistent, _limit(data))


def _find(name: str) -> Foreign:
    if name.startswith("__torch__."):  # a TorchScript class; its code stays in the archive
        return Function(lambda *_: Module())
    if name not in storages.NAMES:
        raise UnreadableError(
            f"names {name}, which tensors have no need of, so it was not read and nothing in it "
            "was run; if you trust it, save just the state_dict() of its network"
        )
    return storages.NAMES[name]
