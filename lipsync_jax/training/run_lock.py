"""A lock on a run's folder, so that one process trains there; it ends with that process."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from lipsync_jax import paths

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # checked below

LOCK_FILE = ".lock"


@contextlib.contextmanager
def acquire(workdir: Path) -> Iterator[None]:
    """Holds the lock of a run's folder.

    Args:
        workdir: the run's folder, which must exist.

    Raises:
        ValueError: another process holds the lock; names that process.
    """
    if paths.is_bucket(workdir):
        logging.warning("%s has no lock, being a bucket: do not start a second run in it", workdir)
    if fcntl is None or paths.is_bucket(workdir):
        yield
        return
    # The file is never removed: removing it could remove the lock of the next holder.
    with (workdir / LOCK_FILE).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ValueError(_describe_holder(workdir, file.read())) from None
        except OSError as error:  # some network file systems have no locks
            logging.warning(
                "%s can't be locked (%s): do not start a second run in it", workdir, error
            )
        else:
            file.truncate(0)
            start_time = time.strftime("%Y-%m-%d %H:%M:%S")
            file.write(f"{os.getpid()} {socket.gethostname()} {start_time}\n")
            file.flush()
        yield


def _describe_holder(workdir: Path, text: str) -> str:
    pid, _, rest = text.strip().partition(" ")
    host, _, start_time = rest.partition(" ")
    holder = f"process {pid} on {host}, since {start_time}," if pid else "another process"
    stop = f" or stop it (`kill {pid}` on {host}: it saves a checkpoint and ends)" if pid else ""
    return (
        f"{workdir} is in use: {holder} trains there. Wait until it ends{stop}, or name another "
        "--workdir"
    )
