"""Ctrl-C and SIGTERM that arrive while a callback runs."""

import _thread
import contextlib
import functools
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

_DELAY = 0.05  # seconds until a signal is sent again, when the callback has ended


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Sends the signal again whose exception Python dropped.

    Python prints and drops an exception in a callback, such as the one that JAX registers with the
    garbage collector: a command would go on as if Ctrl-C had not been pressed.
    """
    previous = sys.unraisablehook
    sys.unraisablehook = functools.partial(_hook, previous)
    try:
        yield
    finally:
        sys.unraisablehook = previous


def _hook(previous: Callable[[Any], Any], dropped: Any) -> None:  # of sys.UnraisableHookArgs
    number = _signal_of(dropped.exc_value)
    if number is None:
        previous(dropped)
        return
    timer = threading.Timer(_DELAY, _send, [number])
    timer.daemon = True
    timer.start()


def _signal_of(error: BaseException | None) -> signal.Signals | None:
    if isinstance(error, KeyboardInterrupt):
        return signal.SIGINT
    is_sigterm = isinstance(error, SystemExit) and error.code == 128 + signal.SIGTERM
    return signal.SIGTERM if is_sigterm else None


def _send(number: signal.Signals) -> None:
    if hasattr(signal, "pthread_kill"):  # wakes the main thread, if it waits
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        _thread.interrupt_main(number)
