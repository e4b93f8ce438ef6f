"""Initializes caches, clusters and logs before the first array, and ends commands."""

import errno
import os
import re
import sys
from collections.abc import Callable
from logging import ERROR, WARNING, LogRecord, getLogger
from pathlib import Path
from typing import NoReturn

import jax
from absl import logging

from lipsync_jax import paths
from lipsync_jax.training import abrupt_end

_HEARTBEAT_TIMEOUT = 40  # seconds; JAX waits 100 before it gives up a host
_GIVE_AGAIN = (
    "Stop the remaining processes and give the same command on every host again: the run resumes "
    "from its last checkpoint"
)
LOST_PROCESS = 75  # exit status; EX_TEMPFAIL of sysexits.h: the same command may succeed now
_end_watch: list[Callable[[], None]] = []  # of a distributed run, see `abrupt_end.watch`
# Not the project's root: it may contain the environment with all libraries.
_OWN_FOLDERS = tuple(
    f"{folder}{os.sep}"
    for folder in (
        Path(__file__).parents[1],
        *(Path(__file__).parents[2] / name for name in ("configs", "data_prep")),
    )
)


def initialize(
    distributed: bool = False,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Turns on the compilation cache and, on request, joins a cluster.

    Args:
        distributed: join the other hosts; JAX finds the arguments below itself on pods and under
            Slurm.
        coordinator: `host:port` of process 0.
        num_processes: number of processes.
        process_id: number of this process.
    """
    logging.set_verbosity(logging.INFO)
    for handler in getLogger().handlers:
        handler.addFilter(_is_relevant)
    if distributed:
        jax.distributed.initialize(
            coordinator, num_processes, process_id, heartbeat_timeout_seconds=_HEARTBEAT_TIMEOUT
        )
        _end_watch.append(
            abrupt_end.watch(
                "error: this process was killed, or ended because another process of this run has "
                f"died or can't be reached. {_GIVE_AGAIN}"
            )
        )
    if jax.process_count() > 1 and jax.default_backend() == "cpu":
        # Only the first process finds its programs in the cache; their collectives do not match
        # those of the programs that the others compile, and all processes wait forever.
        jax.config.update("jax_enable_compilation_cache", False)
    else:
        enable_compilation_cache()
    count, kind = jax.device_count(), jax.devices()[0].device_kind
    logging.info("running on %d device%s of kind %s", count, "s" * (count > 1), kind)


def enable_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, unless JAX has another folder set.

    Does nothing if the folder can't be made.
    """
    # jax.config makes its attributes at run time.
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        folder = paths.user_cache() / "lipsync_jax" / "xla"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def _is_relevant(record: LogRecord) -> bool:
    """Returns whether to show a record: this project's own, and relevant warnings of libraries."""
    if "orbax" in record.pathname:  # warns of optional metadata when it reads a single item
        return (
            record.levelno >= ERROR and not record.exc_info
        )  # errors with a traceback are raised anyway
    return record.levelno >= WARNING or record.pathname.startswith(_OWN_FOLDERS)


def user_message(error: Exception) -> str | None:
    """Returns the message for a user; None for errors that need their traceback."""
    if isinstance(error, OSError) and error.errno is not None:
        what = error.strerror or type(error).__name__
        where = f": {error.filename}" if error.filename else ""
        return f"{what}{where}{_REMEDIES.get(error.errno, '')}"
    text = " ".join(str(error).split())
    if is_lost_process(error):
        return (
            f"another process of this run has died or can't be reached ({text[:160]}). "
            f"{_GIVE_AGAIN}"
        )
    if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in text:
        return (
            f"the device's memory is full ({text[:160]}): lower --config.data.batch_size, or the "
            "widths in --config.model"
        )
    if "No space left on device" in text:  # as Orbax and TensorStore pass it on
        path = re.search(r'"(/[^"]+)"', text)
        return f"No space left on device{(path and ': ' + path[1]) or ''}{_REMEDIES[errno.ENOSPC]}"
    if isinstance(error, OSError | ValueError | FloatingPointError):
        return str(error)
    return None


def is_lost_process(error: Exception) -> bool:
    """Returns whether an error says that another process of the run is lost."""
    text = " ".join(str(error).split())
    return jax.process_count() > 1 and any(sign in text for sign in _LOST_PROCESS_SIGNS)


# Parts of the RuntimeError or ValueError that JAX raises when another process is lost.
_LOST_PROCESS_SIGNS = (
    "Gloo",
    "NCCL",
    "UNAVAILABLE:",
    "DEADLINE_EXCEEDED:",
    "coordination service",
    "heartbeat",
    "closed by peer",
    "reset by peer",
)
_OTHER_WORKDIR = "; name another --workdir"
_REMEDIES = {
    errno.ENOSPC: "; make room, and the same command resumes from the last checkpoint",
    errno.EDQUOT: "; make room, and the same command resumes from the last checkpoint",
    errno.EROFS: _OTHER_WORKDIR,
    errno.EACCES: _OTHER_WORKDIR,
    errno.EPERM: _OTHER_WORKDIR,
    errno.ENOTDIR: " is under a file, not a folder" + _OTHER_WORKDIR,
    errno.EEXIST: " is a file, not a folder" + _OTHER_WORKDIR,
}


def exit_with_message(status: int, message: str) -> NoReturn:
    """Ends the command with a message.

    One of several processes exits at once: the exit of JAX waits for the others, which may be dead.
    """
    is_one_of_several = jax.process_count() > 1 and status in (1, LOST_PROCESS)
    if is_one_of_several:
        # JAX's threads may write more about the lost process, which would hide the message.
        sys.stderr = os.fdopen(os.dup(2), "w")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    print(message, file=sys.stderr, flush=True)
    if is_one_of_several:
        sys.stdout.flush()
        for end in _end_watch:
            end()
        os._exit(status)
    sys.exit(status)


def is_primary_process() -> bool:
    """Returns whether this process is the one that writes and prints."""
    return jax.process_index() == 0
