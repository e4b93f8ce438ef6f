"""The progress of a running job, with an estimate of the time left."""

import dataclasses
import statistics
import time
from collections import deque

_RATE_WINDOW = 5.0  # seconds over which the time left is estimated


@dataclasses.dataclass
class Progress:
    """The progress of a running job.

    Attributes:
        stage: what is done, in words.
        done: units finished, frames as a rule; 0 of 0 where nothing can be counted.
        total: number of them.
        per_second: units a second over the last seconds; 0 if unknown.
        seconds_left: of this stage; None if unknown.
    """

    stage: str = ""
    done: int = 0
    total: int = 0
    per_second: float = 0.0
    seconds_left: float | None = None


class Tracker:
    """Estimates rate and time left of a stage from its last seconds."""

    def __init__(self) -> None:
        self._stage, self._points = "", deque[tuple[float, int]]()

    def __call__(self, stage: str, done: int, total: int) -> Progress:
        """Takes the units finished; returns the progress with its estimates.

        Args:
            stage: see `Progress`.
            done: see `Progress`.
            total: see `Progress`.
        """
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._points = stage, deque()
        self._points.append((now, done))
        while len(self._points) > 2 and now - self._points[0][0] > _RATE_WINDOW:
            self._points.popleft()
        rates = [
            (done - before) / (now - then) for then, before in self._points if now - then > 0.5
        ]
        rate = statistics.median(rates) if rates else 0.0
        left = (total - done) / rate if rate > 0 and total else None
        return Progress(stage, done, total, rate, left)
