"""Worker processes: how many, and that they do not outlive the process that started them."""

import multiprocessing
import os
import signal
import threading


def usable_cores() -> int:
    """Returns the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def start_worker() -> None:
    """Prepares a worker process of a pool: Ctrl-C, or the end of its parent, ends the worker."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # without a traceback
    end_with_parent()


def end_with_parent() -> None:
    """Ends this worker process when its parent is killed, since it would wait for ever."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
