"""How far slow work has come and how long it still takes, for people."""

import math
import time
from collections.abc import Callable

INTERVAL = 10.0  # seconds from one line of progress to the next


class Countdown:
    """Writes a line about a loop every ten seconds, with the time left."""

    def __init__(self, what: str, total: int, log: Callable[[str], object]) -> None:
        """Starts the clock.

        Args:
            what: the unit that is counted, in the plural, e.g. `videos`.
            total: how many there are.
            log: takes a line.
        """
        self._what, self._total, self._log = what, total, log
        self._started = self._shown = time.monotonic()

    def left(self, done: int) -> str:
        """Estimates the time left after `done` of them, as `1:05`; `?` at the start."""
        if not done:
            return "?"
        return clock((time.monotonic() - self._started) / done * (self._total - done))

    def __call__(self, done: int, note: str = "") -> None:
        """Writes `12 of 40 videos: NOTE  ETA 1:05` if ten seconds have passed since the last."""
        now = time.monotonic()
        if now - self._shown >= INTERVAL and done < self._total:
            self._shown = now
            note = f": {note}" if note else ""
            self._log(f"{done} of {self._total} {self._what}{note}  ETA {self.left(done)}")


def clock(seconds: float) -> str:
    """Writes a duration as `1:05`, or `2:00:05` from an hour on; `?` if it is not known."""
    if not math.isfinite(seconds):
        return "?"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def speed(per_second: float) -> str:
    """Writes a rate with a decimal below 10: `3.4`, `25`."""
    return f"{per_second:.1f}" if per_second < 9.95 else f"{per_second:.0f}"
