"""Locks on folders that one process, or processes of one kind, write to.

The system releases a lock when its process ends, however it ends; there are no stale locks.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from lipsync_jax import paths

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # checked below

LOCK_FILE = ".lock"

log = logging.getLogger(__name__)


class Holder(NamedTuple):
    """A process that holds a lock.

    Attributes:
        text: `process 12 on HOST, since TIME,`; `another process` if it has not told.
        kill: the command that ends the process, with its host; empty if not known.
    """

    text: str
    kill: str

    @classmethod
    def of(cls, line: str) -> "Holder":
        """Returns the holder that wrote a line of the lock's file."""
        pid, _, rest = line.strip().partition(" ")
        host, _, start_time = rest.partition(" ")
        if not pid:
            return cls("another process", "")
        return cls(f"process {pid} on {host}, since {start_time},", f"`kill {pid}` on {host}")


@contextlib.contextmanager
def hold(
    folder: Path, in_use: Callable[[Holder], str], advice: str, *, shared: bool = False
) -> Iterator[None]:
    """Holds the lock of a folder.

    Args:
        folder: a local folder, which must exist.
        in_use: returns the message of the error from the holder of the lock.
        advice: what not to do where the folder can't be locked, as on some network disks.
        shared: other processes may hold the lock too, if theirs are shared as well.

    Raises:
        ValueError: another process holds the lock, with the message of `in_use`.
        OSError: the lock's file can't be written, e.g. because the disk is full.
    """
    if fcntl is None:
        yield
        return
    # The file is never removed: removing it could remove the lock of the next holder.
    with (folder / LOCK_FILE).open("a+", encoding="utf-8") as file:
        try:
            is_alone = _try_lock(file.fileno(), fcntl.LOCK_EX)
            if not is_alone and not (shared and _try_lock(file.fileno(), fcntl.LOCK_SH)):
                file.seek(0)
                lines = file.read().splitlines() or [""]
                raise ValueError(in_use(Holder.of(lines[-1])))
            if is_alone:
                file.truncate(0)
                if shared:
                    fcntl.flock(file, fcntl.LOCK_SH)
        except OSError as error:  # some network file systems have no locks
            log.warning("%s can't be locked (%s): %s", folder, error, advice)
        else:
            start_time = time.strftime("%Y-%m-%d %H:%M:%S")
            line = f"{os.getpid()} {os.uname().nodename} {start_time}\n"
            with paths.naming_file(folder / LOCK_FILE):
                os.write(file.fileno(), line.encode())  # no buffer that fails again at closing
        yield


def _try_lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
