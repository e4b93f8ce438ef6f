"""Results in the user's cache folder that later runs find again."""

import contextlib
import os
from pathlib import Path

from lipsync_jax import paths

MAX_ENTRIES = 200  # of a folder; the least recently used are removed


def folder(kind: str) -> Path:
    """Returns the folder of one kind of results, e.g. `faces`; it need not exist."""
    return paths.user_cache() / "lipsync_jax" / kind


def write_entry(path: Path, data: bytes) -> None:
    """Writes an entry, whole or not at all, and removes the oldest of its folder.

    Does nothing if the folder can't be written to.

    Args:
        path: of the entry.
        data: its content.
    """
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        paths.write_bytes(path, data)
        entries = path.parent.glob(f"[!.]*{path.suffix}")
        for old in sorted(entries, key=lambda file: file.stat().st_mtime)[:-MAX_ENTRIES]:
            old.unlink(missing_ok=True)


def mark_used(path: Path) -> None:
    """Makes an entry the last of its folder to be removed."""
    with contextlib.suppress(OSError):
        os.utime(path)
