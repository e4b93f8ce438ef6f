"""Signals that end a run after the step under way, and the clock of its checkpoints."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

import jax
import numpy as np
from jax.experimental import multihost_utils

Stop = Callable[[Callable[[int], bool], int], bool]


@contextlib.contextmanager
def on_signals() -> Iterator[Stop]:
    """Yields a test for SIGTERM, SIGHUP or Ctrl-C: (saved.preempted, step) -> whether to stop.

    One that comes while a program is compiled counts when that is done. The second one ends the
    run at once, without saving.
    """
    asked: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt(
                "stopped at once, without saving; the same command goes on from the last checkpoint"
            )
        asked.append(number)

    def stop(preempted: Callable[[int], bool], step: int) -> bool:
        # Hosts must agree on the step they stop at.
        return preempted(step) if jax.process_count() > 1 else bool(asked)

    handlers = dict.fromkeys((signal.SIGTERM, signal.SIGINT), handle)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        handlers[signal.SIGHUP] = handle  # ignored under nohup, which stays so
    if jax.process_count() > 1:  # the cluster's own handler has SIGTERM, and tells the other hosts
        as_term = {k: lambda *_: os.kill(os.getpid(), signal.SIGTERM) for k in handlers}
        handlers = {k: v for k, v in as_term.items() if k == getattr(signal, "SIGHUP", None)}
    before = {}
    try:
        for number, handler in handlers.items():
            before[number] = signal.signal(number, handler)
    except ValueError:  # not the main thread, as in some notebooks
        pass
    try:
        yield stop
    finally:
        for number, former in before.items():
            signal.signal(number, former)


class Clock:
    """Tells when a checkpoint is due by time.

    Args:
        minutes: between checkpoints; 0: never due.
        every: steps from one look at the clock to the next where several hosts must agree.
    """

    def __init__(self, minutes: float, every: int) -> None:
        self._seconds, self._every = 60 * minutes, every
        self.reset()

    def reset(self) -> None:
        """A checkpoint was saved now."""
        self._since = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether to save at this step; by the clock of the first host."""
        if self._seconds <= 0:
            return False
        passed = time.monotonic() - self._since >= self._seconds
        if jax.process_count() == 1:
            return passed
        if step % self._every:
            return False
        return bool(multihost_utils.broadcast_one_to_all(np.int32(passed)))
