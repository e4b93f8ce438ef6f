"""Progress of slow work and the time that is left, as text."""

import math
import time
from collections.abc import Callable

LOG_INTERVAL = 10.0  # seconds between lines


class EtaLogger:
    """Writes a line about a loop every ten seconds, with the estimated time left."""

    def __init__(self, unit: str, total: int, write_line: Callable[[str], object]) -> None:
        """Starts the clock.

        Args:
            unit: name of what is counted, in the plural, e.g. `videos`.
            total: number of them.
            write_line: called with each line.
        """
        self._unit, self._total, self._write_line = unit, total, write_line
        self._started = self._last_shown = time.monotonic()

    def eta(self, completed: int) -> str:
        """Estimates the time left after `completed` of them, as `1:05`; `?` at the start."""
        if not completed:
            return "?"
        return format_duration(
            (time.monotonic() - self._started) / completed * (self._total - completed)
        )

    def __call__(self, completed: int, note: str = "") -> None:
        """Writes `12 of 40 videos: NOTE  ETA 1:05` if ten seconds have passed."""
        now = time.monotonic()
        if now - self._last_shown >= LOG_INTERVAL and completed < self._total:
            self._last_shown = now
            note = f": {note}" if note else ""
            self._write_line(
                f"{completed} of {self._total} {self._unit}{note}  ETA {self.eta(completed)}"
            )


def format_duration(seconds: float) -> str:
    """Formats a duration as `1:05`, or `2:00:05` from an hour on; `?` if not finite."""
    if not math.isfinite(seconds):
        return "?"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def format_rate(per_second: float) -> str:
    """Formats a rate, with a decimal below 10: `3.4`, `25`."""
    return f"{per_second:.1f}" if per_second < 9.95 else f"{per_second:.0f}"
