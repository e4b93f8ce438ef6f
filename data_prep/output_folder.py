"""Words errors of the folder and its disk, and interrupts, of commands that write to `--out`."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from lipsync_jax import paths

_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST)


def require_utf8(out: Path) -> None:
    """Checks the name of a folder of shards, before the slow work for them.

    Raises:
        ValueError: the name is not UTF-8; ArrayRecord, which writes the shards, opens no other.
    """
    try:
        str(out).encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"--out {out} is not UTF-8, and shards can be written to no such folder; name another "
            "folder"
        ) from None


@contextlib.contextmanager
def explained(out: Path, kept: str) -> Iterator[None]:
    """Says what to do where a block can't write to a folder, or is interrupted.

    Args:
        out: the folder, as the user gave it.
        kept: what remains, and what the same command does with that.

    Raises:
        OSError: the disk is full, or the folder can't be written to.
        KeyboardInterrupt: the block was interrupted.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; {kept}") from None
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in paths.FULL_DISK:
            raise OSError(f"the disk of --out {out} is full: make room; {kept}") from error
        is_below = error.filename and Path(error.filename).absolute().is_relative_to(out.absolute())
        if error.errno in _NOT_WRITABLE and is_below:
            raise OSError(
                f"--out {out} can't be written to ({reason}: {error.filename}); name a folder that "
                "can be"
            ) from error
        raise
