"""What must happen before the first array: caches, clusters, logs."""

import os
from logging import ERROR, WARNING, LogRecord, getLogger
from pathlib import Path

import jax
from absl import logging

_PROJECT = str(Path(__file__).parents[2])


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
    enable_compilation_cache()
    if distributed:
        jax.distributed.initialize(coordinator, processes, process)
    logging.info("%d devices of kind %s", jax.device_count(), jax.devices()[0].device_kind)


def enable_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder, unless JAX was told of another."""
    if jax.config.jax_compilation_cache_dir is None:
        root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(root / "lipsync_jax" / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _worth_reading(record: LogRecord) -> bool:
    """Progress is this project's own; of the libraries only warnings that mean something."""
    if "orbax" in record.pathname:  # warns of optional metadata when it reads a single item
        return record.levelno >= ERROR
    return record.levelno >= WARNING or record.pathname.startswith(_PROJECT)


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return jax.process_index() == 0
