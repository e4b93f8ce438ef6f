"""Words errors of the disk, and interrupts, of commands that write to `--out`."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST)


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
        if error.errno in _FULL:
            raise OSError(f"the disk of --out {out} is full: make room; {kept}") from error
        is_below = error.filename and Path(error.filename).absolute().is_relative_to(out.absolute())
        if error.errno in _NOT_WRITABLE and is_below:
            raise OSError(
                f"--out {out} can't be written to ({reason}: {error.filename}); name a folder that "
                "can be"
            ) from error
        raise
