"""Runs a training command again after it was killed or lost another host: `--max_restarts`."""

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from lipsync_jax.training.distributed import LOST_PROCESS

log = logging.getLogger(__name__)

_STOPPED = {signal.SIGINT, signal.SIGTERM}  # somebody wants the run to end
_LONGEST_PAUSE = 60.0  # seconds


def run(command: Sequence[str], max_restarts: int, pause: float = 5.0) -> int:
    """Runs a command until it ends by itself.

    The command is repeated if a signal killed it (out of memory, a lost host), or if it ends with
    `LOST_PROCESS`. Errors of the user, and a stop by SIGTERM or Ctrl-C, which are passed on, are
    final.

    Args:
        command: program and arguments.
        max_restarts: repetitions at most.
        pause: seconds before the first repetition; doubled each time, up to a minute.

    Returns:
        The exit status of the last run, 128 + the signal's number if a signal killed it.
    """
    stopped: list[int] = []
    process: subprocess.Popen | None = None

    def pass_on(number: int, frame: FrameType | None) -> None:
        stopped.append(number)
        if process is not None and process.poll() is None:
            process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in _STOPPED}
    try:
        for restarts in range(max_restarts + 1):
            process = subprocess.Popen(command)
            status = process.wait()
            final = stopped or not (status < 0 or status == LOST_PROCESS)
            if final or restarts == max_restarts:
                break
            seconds = min(pause * 2**restarts, _LONGEST_PAUSE)
            why = signal.Signals(-status).name if status < 0 else "lost another process"
            log.warning(
                "the run ended (%s); restart %d of %d in %.0f s",
                why,
                restarts + 1,
                max_restarts,
                seconds,
            )
            _sleep(seconds, stopped)
            if stopped:
                break
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 - status if status < 0 else status


def own_command(argv: Sequence[str]) -> list[str]:
    """Returns this process's training command without `--max_restarts`.

    Args:
        argv: the flags, after the program's name.
    """
    flags: list[str] = []
    skip = False
    for argument in argv:
        name, equals, _ = argument.partition("=")
        if skip or name.lstrip("-").replace("-", "_") == "max_restarts":
            skip = not skip and not equals  # its value is the next argument
            continue
        flags.append(argument)
    return [sys.executable, "-m", "lipsync_jax.cli", "train", *flags]


def _sleep(seconds: float, stopped: list[int]) -> None:
    end = time.monotonic() + seconds
    while not stopped and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 0.2))
