"""One run, one process: a lock on the run's folder that ends with the process that holds it."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from absl import logging

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # which is what the code below asks

NAME = ".lock"


@contextlib.contextmanager
def hold(workdir: Path) -> Iterator[None]:
    """Holds the lock of a run's folder.

    Args:
        workdir: exists.

    Raises:
        ValueError: another process holds it; names that.
    """
    if fcntl is None:
        yield
        return
    # Never removed: who removes a lock can remove the next one's.
    with (workdir / NAME).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ValueError(_in_use(workdir, file.read())) from None
        except OSError as error:  # some network file systems have no locks
            logging.warning("%s can't be locked (%s): start no second run in it", workdir, error)
        else:
            file.truncate(0)
            began = time.strftime("%Y-%m-%d %H:%M:%S")
            file.write(f"{os.getpid()} {socket.gethostname()} {began}\n")
            file.flush()
        yield


def _in_use(workdir: Path, text: str) -> str:
    pid, _, rest = text.strip().partition(" ")
    host, _, began = rest.partition(" ")
    holder = f"process {pid} on {host}, since {began}," if pid else "another process"
    stop = f" or stop it (`kill {pid}` on {host} saves and ends it)" if pid else ""
    return (
        f"{workdir} is in use: {holder} trains there. Wait for its end{stop}, or take another "
        "--workdir"
    )
