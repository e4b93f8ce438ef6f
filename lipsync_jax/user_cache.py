"""Results in the user's cache folder that later runs find again."""

import contextlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from lipsync_jax import paths

MAX_ENTRIES = 200  # of a folder; the least recently used are removed


def folder(kind: str) -> Path:
    """Returns the folder of one kind of results, e.g. `faces`; it need not exist."""
    return paths.user_cache() / "lipsync_jax" / kind


def write_entry(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Writes an entry, whole or not at all, and removes the oldest of its folder.

    Does nothing if the folder can't be written to.

    Args:
        path: of the entry.
        write: writes to a file.
    """
    partial = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            write(file)
        os.replace(partial, path)
        entries = path.parent.glob(f"[!.]*{path.suffix}")
        for old in sorted(entries, key=lambda file: file.stat().st_mtime)[:-MAX_ENTRIES]:
            old.unlink(missing_ok=True)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def mark_used(path: Path) -> None:
    """Makes an entry the last of its folder to be removed."""
    with contextlib.suppress(OSError):
        os.utime(path)
