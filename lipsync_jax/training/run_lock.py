"""A lock on a run's folder, so that one process trains there; it ends with that process."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from lipsync_jax import folder_lock, paths


@contextlib.contextmanager
def acquire(workdir: Path) -> Iterator[None]:
    """Holds the lock of a run's folder.

    Args:
        workdir: the run's folder, which must exist.

    Raises:
        ValueError: another process holds the lock; names that process.
    """
    advice = "do not start a second run in it"
    if paths.is_bucket(workdir):
        logging.warning("%s has no lock, being a bucket: %s", workdir, advice)
        yield
        return

    def in_use(holder: folder_lock.Holder) -> str:
        stop = f" or stop it ({holder.kill}: it saves a checkpoint and ends)" if holder.kill else ""
        return (
            f"{workdir} is in use: {holder.text} trains there. Wait until it ends{stop}, or name "
            "another --workdir"
        )

    with folder_lock.hold(workdir, in_use, advice):
        yield
