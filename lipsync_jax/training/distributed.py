"""What must happen before the first array, and how a command ends: caches, clusters, logs."""

import errno
import os
import re
import sys
from logging import ERROR, WARNING, LogRecord, getLogger
from pathlib import Path
from typing import NoReturn

import jax
from absl import logging

# Not the whole project: its folder may hold the environment with all libraries.
_OWN = tuple(
    f"{folder}{os.sep}"
    for folder in (
        Path(__file__).parents[1],
        *(Path(__file__).parents[2] / name for name in ("configs", "data_prep")),
    )
)


def start(
    distributed: bool = False,
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
) -> None:
    """Turns on the compilation cache and joins a cluster when asked.

    Args:
        distributed: join the other hosts; the arguments below are found by JAX on pods and
            under Slurm.
        coordinator: `host:port` of process 0.
        processes: how many there are.
        process: which one this is.
    """
    logging.set_verbosity(logging.INFO)
    for handler in getLogger().handlers:
        handler.addFilter(_worth_reading)
    if distributed:
        jax.distributed.initialize(coordinator, processes, process)
    if jax.process_count() > 1 and jax.default_backend() == "cpu":
        # The first process alone finds its programs there; their collectives do not match those
        # of programs that the others compile, and all wait for ever.
        jax.config.update("jax_enable_compilation_cache", False)
    else:
        enable_compilation_cache()
    count, kind = jax.device_count(), jax.devices()[0].device_kind
    logging.info("running on %d device%s of kind %s", count, "s" * (count > 1), kind)


def enable_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, unless JAX was told of another."""
    # jax.config makes its attributes at run time.
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(root / "lipsync_jax" / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _worth_reading(record: LogRecord) -> bool:
    """Progress is this project's own; of the libraries only warnings that mean something."""
    if "orbax" in record.pathname:  # warns of optional metadata when it reads a single item
        return record.levelno >= ERROR and not record.exc_info  # what it raises is said anyway
    return record.levelno >= WARNING or record.pathname.startswith(_OWN)


def sentence(error: Exception) -> str | None:
    """What a user is told of an error; None where only the traceback says what happened."""
    if isinstance(error, OSError) and error.errno is not None:
        what = error.strerror or type(error).__name__
        where = f": {error.filename}" if error.filename else ""
        return f"{what}{where}{_REMEDIES.get(error.errno, '')}"
    text = " ".join(str(error).split())
    if jax.process_count() > 1 and any(sign in text for sign in _LOST):
        return (
            f"another process of this run has died or can't be reached ({text[:160]}). Stop the "
            "processes that are left and give every host its same command again: the run goes on "
            "from its last checkpoint"
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


# In what JAX raises, as RuntimeError or ValueError, when another process is gone.
_LOST = (
    "Gloo",
    "NCCL",
    "UNAVAILABLE:",
    "DEADLINE_EXCEEDED:",
    "coordination service",
    "heartbeat",
    "closed by peer",
    "reset by peer",
)
_ELSEWHERE = "; name another --workdir"
_REMEDIES = {
    errno.ENOSPC: "; make room, and the same command goes on from the last checkpoint",
    errno.EDQUOT: "; make room, and the same command goes on from the last checkpoint",
    errno.EROFS: _ELSEWHERE,
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
    errno.ENOTDIR: " is under a file, not a folder" + _ELSEWHERE,
    errno.EEXIST: " is a file, not a folder" + _ELSEWHERE,
}


def leave(status: int, message: str) -> NoReturn:
    """Ends the command with a message.

    One of several processes ends at once: JAX's way out waits for the others, which may be dead.
    """
    print(message, file=sys.stderr, flush=True)
    if jax.process_count() > 1 and status == 1:
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return jax.process_index() == 0
