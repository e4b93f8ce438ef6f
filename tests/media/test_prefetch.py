import sys
import threading
import time
from types import SimpleNamespace

import pytest

from lipsync_jax.media import prefetch as workers
from lipsync_jax.media.prefetch import prefetch


def stages():
    return [t for t in threading.enumerate() if t.name == "lipsync stage"]


def test_order_is_kept_and_few_items_wait():
    ahead, taken = [], []

    def items():
        for i in range(50):
            ahead.append(i - len(taken))
            yield i

    for item in prefetch(items(), 3):
        taken.append(item)  # noqa: PERF402
    assert taken == list(range(50)) and max(ahead) <= 6


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield 1
        yield 2
        raise OSError("lost")

    seen = []
    with pytest.raises(OSError, match="lost"):
        for item in prefetch(items(), 2):
            seen.append(item)  # noqa: PERF402
    assert seen == [1, 2] and not stages()


def test_a_chain_unwinds_when_its_consumer_stops():
    closed = []

    def endless():
        try:
            while True:
                yield time.monotonic()
        finally:
            closed.append(True)

    chain = prefetch(prefetch(endless(), 2), 2)
    next(chain)
    chain.close()
    assert closed and not stages()


def test_heaps_are_shared_where_the_c_library_can(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    asked = []
    for library in (SimpleNamespace(mallopt=lambda *how: asked.append(how)), SimpleNamespace()):
        monkeypatch.setattr(workers.ctypes, "CDLL", lambda _, library=library: library)
        workers.limit_malloc_arenas()
    assert asked == [(-8, 2)]
