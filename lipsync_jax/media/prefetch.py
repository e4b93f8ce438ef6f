"""Bounded pipelines: each stage is an iterator that `prefetch` runs on its own thread."""

import ctypes
import queue
import sys
import threading
from collections.abc import Generator, Iterable
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")

_POLL = 0.05  # seconds between checks of a blocked stage for cancellation
_END = object()
_M_ARENA_MAX = -8  # malloc.h


def limit_malloc_arenas() -> None:
    """Limits the process to two malloc arenas, where the C library is glibc.

    By default each thread has an arena that keeps the most memory the thread ever used, so that
    memory grows with the length of a video. Affects threads that have not started yet.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, 2)


def prefetch(items: Iterable[Item], depth: int) -> Generator[Item, None, None]:
    """Runs an iterator on its own thread, at most `depth` items ahead of its consumer.

    An exception in the iterator is raised again in the consumer, in order. If the consumer stops
    early (an error, Ctrl-C, `close()`), the thread closes its iterator and ends, so that a chain of
    stages unwinds from its end to its start.

    Args:
        items: a generator or iterable, used by the thread only.
        depth: most items in the buffer, at least 1.

    Yields:
        The items, in order.
    """
    buffer: queue.Queue = queue.Queue(depth)
    cancelled = threading.Event()

    def put(entry: tuple) -> bool:
        while not cancelled.is_set():
            try:
                buffer.put(entry, timeout=_POLL)
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
            item, error = buffer.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        cancelled.set()
        thread.join()


class Newest(Generic[Item]):
    """Runs an iterator on its own thread, never waiting, and keeps its newest item only.

    with Newest(states()) as newest:
        state = newest.wait()
        ...
        state = newest.wait(state)  # a later one
    """

    def __init__(self, items: Iterable[Item]) -> None:
        """Takes a generator or iterable, which the thread uses between `with` and its end."""
        self._items, self._changed = items, threading.Condition()
        self._item: Item | None = None
        self._error: BaseException | None = None
        self._ended = self._cancelled = False
        self._thread = threading.Thread(target=self._work, name="lipsync stage", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._cancelled = True
        self._thread.join()

    def wait(self, known: Item | None = None) -> Item:
        """Waits for an item that is not `known`, or for the end.

        Returns:
            The newest item; `known` if no other followed.

        Raises:
            Exceptions of the iterator; ValueError where there are no items.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._item is not known)
            return self.get()

    def get(self) -> Item:
        """Returns the newest item without waiting; see `wait`."""
        if self._error is not None:
            raise self._error
        if self._item is None:
            raise ValueError("there is no item")
        return self._item

    def _work(self) -> None:
        iterator = iter(self._items)
        try:
            for item in iterator:
                with self._changed:
                    self._item = item
                    self._changed.notify_all()
                if self._cancelled:
                    break
        except BaseException as error:
            self._error = error
        finally:
            if hasattr(iterator, "close"):
                iterator.close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()
