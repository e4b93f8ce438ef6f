"""Goodput: the fraction of a run's time in which it trains, and where the rest goes."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator

import jax
from absl import logging

OVERHEADS = ("loader_wait", "checkpoint", "validation", "compile")
_MOST_WAIT = 0.1  # of a step's time, for batches
_COMPILATION = (  # tracing is left out: JAX reports nested traces twice
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)
_compile_seconds = 0.0  # of this process; JAX calls a listener for good


def _listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
    global _compile_seconds
    if event in _COMPILATION:
        _compile_seconds += duration_secs


jax.monitoring.register_event_duration_secs_listener(_listen)


class Goodput:
    """Measures what a run waits for, seconds of the host's clock.

    `loader_wait`, `checkpoint` and `validation` are what the loop measures; `compile` is what JAX
    reports, wherever it compiles, and is not counted twice. What remains is time of steps.
    """

    def __init__(self) -> None:
        self._begin = self._last = time.monotonic()
        self._compile_begin = _compile_seconds
        self._total: defaultdict[str, float] = defaultdict(float)
        self._reported = self._total.copy()
        self._steps = self._saves = self._flushes = 0
        self._warned = False

    @contextlib.contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Adds the time of a block to one of `OVERHEADS`, without the compilation in it."""
        begin, compiled = time.monotonic(), _compile_seconds
        try:
            yield
        finally:
            spent = time.monotonic() - begin - (_compile_seconds - compiled)
            self._total[name] += max(spent, 0.0)

    def save(self) -> None:
        """Counts a checkpoint."""
        self._saves += 1

    def step(self) -> None:
        """Counts a training step."""
        self._steps += 1

    def flush(self) -> dict[str, float]:
        """Returns seconds a step since the last call, in all and by overhead, and the goodput.

        The goodput is of the whole run so far, 0 to 1. Warns once if steps wait for batches.
        """
        self._total["compile"] = _compile_seconds - self._compile_begin
        now, steps = time.monotonic(), max(self._steps, 1)
        values = {"step_time": (now - self._last) / steps}
        for name in OVERHEADS:
            values[name] = (self._total[name] - self._reported[name]) / steps
        self._last, self._steps, self._reported = now, 0, self._total.copy()
        self._warn_of_loader(values["loader_wait"], values["step_time"])
        return {**values, "goodput": self._goodput(now)}

    def _warn_of_loader(self, wait: float, step_time: float) -> None:
        self._flushes += 1
        # The first steps also wait for the loader's start.
        if self._warned or self._flushes == 1 or wait <= _MOST_WAIT * step_time:
            return
        self._warned = True
        logging.warning(
            "steps wait for their batches in %.0f %% of the time; more processes make more batches "
            "(--config.data.num_workers), see docs/how-to/train.md, Feeding an accelerator",
            100 * wait / step_time,
        )

    def log(self) -> None:
        """Logs the sums of the run."""
        self._total["compile"] = _compile_seconds - self._compile_begin
        now = time.monotonic()
        parts = ", ".join(f"{name} {self._total[name]:.1f} s" for name in OVERHEADS)
        logging.info(
            "goodput %.1f %% of %.1f s: %s; %d checkpoint%s saved in the background",
            100 * self._goodput(now),
            now - self._begin,
            parts,
            self._saves,
            "s" * (self._saves != 1),
        )

    def _goodput(self, now: float) -> float:
        seconds = max(now - self._begin, 1e-9)
        return max(0.0, 1 - sum(self._total[name] for name in OVERHEADS) / seconds)
