"""Signals that end a run after the current step, and the timer of its checkpoints."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

import jax
import numpy as np
from jax.experimental import multihost_utils

StopTest = Callable[[Callable[[int], bool], int], bool]


@contextlib.contextmanager
def catch_signals() -> Iterator[StopTest]:
    """Yields a test for SIGTERM, SIGHUP or Ctrl-C: (preempted, step) -> whether to stop.

    A signal during compilation takes effect after the compilation. The second signal ends the run
    at once, without saving.
    """
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt(
                "stopped at once, without saving; the same command resumes from the last checkpoint"
            )
        received.append(number)

    def stop(preempted: Callable[[int], bool], step: int) -> bool:
        # Hosts must agree on the step they stop at.
        return preempted(step) if jax.process_count() > 1 else bool(received)

    handlers = dict.fromkeys((signal.SIGTERM, signal.SIGINT), handle)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        handlers[signal.SIGHUP] = handle  # nohup ignores it, which must stay so
    if jax.process_count() > 1:  # the cluster's own handler of SIGTERM notifies the other hosts
        as_term = {k: lambda *_: os.kill(os.getpid(), signal.SIGTERM) for k in handlers}
        handlers = {k: v for k, v in as_term.items() if k == getattr(signal, "SIGHUP", None)}
    previous_handlers = {}
    try:
        for number, handler in handlers.items():
            previous_handlers[number] = signal.signal(number, handler)
    except ValueError:  # not the main thread, as in some notebooks
        pass
    try:
        yield stop
    finally:
        for number, previous in previous_handlers.items():
            signal.signal(number, previous)


class CheckpointTimer:
    """Computes when a checkpoint is due by time.

    Args:
        minutes: between checkpoints; 0: never due.
        check_every: steps between readings of the clock where several hosts must agree.
    """

    def __init__(self, minutes: float, check_every: int) -> None:
        self._seconds, self._check_every = 60 * minutes, check_every
        self.reset()

    def reset(self) -> None:
        """Restarts the timer after a checkpoint was saved."""
        self._last_save = time.monotonic()

    def due(self, step: int) -> bool:
        """Returns whether to save at this step, by the clock of the first host."""
        if self._seconds <= 0:
            return False
        passed = time.monotonic() - self._last_save >= self._seconds
        if jax.process_count() == 1:
            return passed
        if step % self._check_every:
            return False
        return bool(multihost_utils.broadcast_one_to_all(np.int32(passed)))
