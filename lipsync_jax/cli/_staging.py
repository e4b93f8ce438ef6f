"""Local copies of the files that a command reads from a bucket, and of those it writes there.

FFmpeg, OpenCV and SQLite read and write local files. Checkpoints, and data sets that `lipsync
prepare` wrote, are read where they are.
"""

import argparse
import contextlib
import copy
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lipsync_jax import folder_lock, paths
from lipsync_jax.cli import _json_output

log = logging.getLogger(__name__)

_IN_PLACE = ("checkpoint_path", "sync_model", "lip_reader", "data", "workdir")
_WRITTEN = ("outfile", "out", "write_synced")
# Clips that `lipsync prepare` keeps for its next run, and the lock of `lipsync synthetic`.
_NOT_UPLOADED = ("cache", folder_lock.LOCK_FILE)
_LOCAL_ONLY = {
    "doctor": "looks for runs and data below a folder of this machine",
    "models": "looks for models below a folder of this machine",
    "personalize": "trains in a folder of this machine",
}


@contextlib.contextmanager
def staged(arguments: argparse.Namespace) -> Iterator[argparse.Namespace]:
    """Yields the arguments with local paths; copies what was written when the command succeeded.

    Raises:
        FileNotFoundError: a bucket has no such file.
        ValueError: the command can't use a bucket.
    """
    names = [name for name, value in vars(arguments).items() if any(_buckets(value))]
    names = [name for name in names if name not in _IN_PLACE]
    if not names:
        yield arguments
        return
    command = getattr(arguments, "command", None)
    if command in _LOCAL_ONLY:
        path = next(_buckets(getattr(arguments, names[0])))
        raise ValueError(f"{path}: `lipsync {command}` {_LOCAL_ONLY[command]}; copy it there first")
    local, renamed = copy.copy(arguments), _json_output.of(arguments).renamed
    with tempfile.TemporaryDirectory(prefix="lipsync_jax_") as scratch:
        written: list[tuple[Path, Path]] = []
        for number, name in enumerate(names):
            folder = Path(scratch, str(number))
            value = getattr(arguments, name)
            if name in _WRITTEN:
                paths.require_access(value, f"--{name.replace('_', '-')}")
                folder.mkdir()
                setattr(local, name, folder / (value.name or "out"))
                written.append((folder, value))
                renamed[str(folder)] = os.fspath(value.parent)
            else:
                setattr(local, name, _downloaded(value, folder, renamed))
        yield local
        for folder, target in written:
            for made in sorted(folder.iterdir()):  # OUTFILE's preview lies beside it
                count = paths.upload(made, target.parent / made.name, leave_out=_NOT_UPLOADED)
                log.info(
                    "copied %d file%s to %s", count, "s" * (count > 1), target.parent / made.name
                )


def _buckets(value: Any) -> Iterator[Path]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _buckets(item)
    elif isinstance(value, os.PathLike) and paths.is_bucket(value):
        yield paths.parse(value)


def _downloaded(value: Any, folder: Path, renamed: dict[str, str]) -> Any:
    """Returns a value, list or tuple with local copies in place of a bucket's paths.

    Adds the copies' paths to `renamed`.
    """
    if isinstance(value, list | tuple):
        return type(value)(_downloaded(v, folder / str(n), renamed) for n, v in enumerate(value))
    if isinstance(value, os.PathLike) and paths.is_bucket(value):
        log.info("copying %s to this machine", value)
        copied = paths.download(paths.parse(value), folder)
        renamed[str(copied)] = os.fspath(value)
        return copied
    return value
