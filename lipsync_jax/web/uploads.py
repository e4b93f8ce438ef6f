"""Uploaded files, known to clients by ids and never by paths."""

import contextlib
import os
import re
import secrets
import shutil
import time
from pathlib import Path
from typing import BinaryIO

from lipsync_jax.text import unique_file_names

_FILE_ID = re.compile(r"[0-9a-f]{16}")
_KEEP_SECONDS = 86_400


class Uploads:
    """Uploaded files by id."""

    def __init__(self, folder: Path) -> None:
        """Takes the folder, which is made if missing."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, content: BinaryIO) -> tuple[str, Path]:
        """Stores a file; returns its id and path.

        Raises:
            OSError: the file can't be written; nothing of it is left.
        """
        file_id = secrets.token_hex(8)
        path = self._folder / file_id / safe_name(name)
        path.parent.mkdir()
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
        except OSError:  # a full disk: no part is left on it
            self.remove(file_id)
            raise
        return file_id, path

    def path(self, file_id: str, field: str = "") -> Path:
        """Returns the path of a file.

        Args:
            file_id: see `add`.
            field: that has the id, for the error.

        Raises:
            ValueError: there is no such file.
        """
        found = [*(self._folder / file_id).glob("*")] if _FILE_ID.fullmatch(file_id) else []
        if not found:
            name = f"`{field}`: " if field else ""
            raise ValueError(f"{name}there is no uploaded file {file_id[:40]!r}; upload it again")
        return found[0]

    def remove(self, file_id: str) -> None:
        """Removes a file, if it exists."""
        if _FILE_ID.fullmatch(file_id):
            shutil.rmtree(self._folder / file_id, ignore_errors=True)


def remove_old(folder: Path) -> None:
    """Removes uploads that are older than a day, and parts of uploads that were cancelled.

    Args:
        folder: of uploads, which may be missing.
    """
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _KEEP_SECONDS:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def safe_name(name: str, fallback: str = "file") -> str:
    """Makes a file name, with its suffix, of a name that a user gave."""
    stem, suffix = os.path.splitext(os.path.basename(name.replace("\\", "/")))
    suffix = suffix if re.fullmatch(r"\.\w{1,8}", suffix, re.ASCII) else ""
    (safe,) = unique_file_names([stem.strip(".") or fallback]).values()
    return safe + suffix
