"""Bounded pipelines: every stage an iterator, run on a thread of its own by `prefetch`."""

import ctypes
import queue
import sys
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")

_POLL = 0.05  # seconds after which a blocked stage looks whether it is still wanted
_END = object()
_M_ARENA_MAX = -8  # malloc.h


def share_heaps() -> None:
    """Lets a process's threads share two heaps, where the C library is glibc.

    It gives each thread its own, which keeps the most that this thread ever needed, so that memory
    creeps up with the length of a video. Works on threads that have not yet started.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, 2)


def prefetch(items: Iterable[Item], depth: int) -> Generator[Item, None, None]:
    """Runs an iterator on its own thread, at most `depth` items ahead of its consumer.

    An exception in the iterator is raised again at the consumer, in order. When the consumer
    stops early (an error, Ctrl-C, `close()`), the thread is told, closes its iterator and ends,
    so a chain of stages unwinds from its end to its start.

    Args:
        items: a generator or iterable; only the thread touches it.
        depth: items that may wait, at least 1.

    Yields:
        The items, in order.
    """
    waiting: queue.Queue = queue.Queue(depth)
    unwanted = threading.Event()

    def put(entry: tuple) -> bool:
        while not unwanted.is_set():
            try:
                waiting.put(entry, timeout=_POLL)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not put((item, None)):
                    return
            put((_END, None))
        except BaseException as error:
            put((_END, error))
        finally:
            if hasattr(iterator, "close"):
                iterator.close()

    thread = threading.Thread(target=work, name="lipsync stage", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        unwanted.set()
        thread.join()
