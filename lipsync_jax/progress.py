"""Progress of slow work: a bar on a terminal, lines or JSON elsewhere, and the time left."""

import json
import logging
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from lipsync_jax.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

T = TypeVar("T")
# How progress is shown: bars on a terminal and lines elsewhere; lines; JSON, a line each; not.
MODES = ("auto", "plain", "json", "none")
LOG_INTERVAL = 10.0  # seconds between lines at first
_MAX_LOG_INTERVAL = 60.0  # seconds, in long runs
_RATE_WINDOW = 30.0  # seconds that a rate is averaged over
_MIN_POINTS = 10  # slow work is averaged over as many units, however long they take
_MIN_STEP = 0.1  # seconds from one remembered point to the next
_MIN_SECONDS = 0.5  # before which a rate is unknown
_JSON_INTERVAL = 1.0  # seconds between lines of JSON
_mode = "auto"


def set_mode(mode: str) -> None:
    """Sets how this process shows the progress of what begins from now on, one of `MODES`."""
    global _mode
    if mode not in MODES:
        raise ValueError(f"progress {mode!r} must be one of {', '.join(MODES)}")
    _mode = mode


class RateEstimator:
    """Estimates a rate and the time left from the last seconds of the work.

    Attributes:
        rate: units a second; 0 if unknown.
    """

    def __init__(self, window: float = _RATE_WINDOW) -> None:
        """Starts with the first `update`.

        Args:
            window: seconds that the rate is averaged over.
        """
        self.rate, self._window = 0.0, window
        self._points = deque[tuple[float, int]]()

    def update(self, done: int) -> None:
        """Takes the number of units that are finished."""
        now, points = time.monotonic(), self._points
        while len(points) > _MIN_POINTS and now - points[0][0] > self._window:
            points.popleft()
        then, before = points[0] if points else (now, done)
        self.rate = (done - before) / (now - then) if now - then > _MIN_SECONDS else 0.0
        if not points or now - points[-1][0] >= _MIN_STEP:
            points.append((now, done))

    def seconds_left(self, done: int, total: int) -> float:
        """Estimates the time left; infinite if the rate is unknown."""
        return (total - done) / self.rate if self.rate > 0 else math.inf


class ProgressBar:
    """Shows the progress of a loop on the standard error, until it is closed.

        with ProgressBar("videos", len(videos)) as bar:
            for number, video in enumerate(videos):
                bar(number, video.name)

    On a terminal all open bars are rows below the other output. Elsewhere a line is written every
    ten seconds, in long runs every minute:

        videos 12/40 (30%), ETA 1:05, interview.mp4

    `set_mode` chooses another form for all bars. In JSON a line is written at once, every second
    and at the end:

        {"event": "progress", "label": "videos", "done": 12, "total": 40, "rate_per_second": 0.43,
        "eta_seconds": 65.0, "note": "interview.mp4"}
    """

    def __init__(
        self,
        label: str,
        total: int = 0,
        log: logging.Logger | None = None,
        *,
        rate_unit: str = "",
        done: int = 0,
        lines: bool = True,
    ) -> None:
        """Starts the clock.

        Args:
            label: what is counted, or is done.
            total: number of units; 0 if it comes with the first call.
            log: writes the lines; shows nothing where its level is above INFO. None prints.
            rate_unit: unit of the rate, such as `fps`; without one no rate is shown.
            done: units finished by an earlier process.
            lines: False where the caller logs lines of its own, and needs none of these.
        """
        self._label, self._total, self._log, self._rate_unit = label, total, log, rate_unit
        is_shown = _mode != "none" and (log is None or log.isEnabledFor(logging.INFO))
        self._is_json = _mode == "json"
        self._row = _Terminal.add_row(label, total) if is_shown and _mode == "auto" else None
        self._is_shown = is_shown and (lines or self._is_json or self._row is not None)
        self._started = self._last_line = time.monotonic()
        self._has_lines, self._counted = False, done
        self._estimator = RateEstimator()
        self._estimator.update(done)
        if self._row and total:
            self._row.update(label, done, total, {"count": self._count(done)})
        if self._is_shown and self._is_json:
            self._write(done, "")
            self._has_lines = True

    def __call__(
        self, done: int, note: str = "", *, total: int | None = None, label: str | None = None
    ) -> None:
        """Shows the number of finished units; as a line, if it is time for one.

        Args:
            done: units finished; without any a line is written at once.
            note: of the present unit.
            total: number of units, where it changes.
            label: where it changes, another loop begins.
        """
        if not self._is_shown:
            return
        self._total, note = self._total if total is None else total, printable(note)
        if label is not None and label != self._label:
            self._label, self._estimator = label, RateEstimator()
            self._last_line = -math.inf if self._is_json else time.monotonic()
            self._has_lines = False
        self._estimator.update(done)
        now, is_last = time.monotonic(), 0 < self._total <= done
        if self._row:
            details = {"count": self._count(done), "rate": self._rate(done), "note": note}
            self._row.update(self._label, done, self._total, details)
            return
        interval = _JSON_INTERVAL
        if not self._is_json:
            interval = min(max(LOG_INTERVAL, (now - self._started) / 20), _MAX_LOG_INTERVAL)
        if now - self._last_line >= interval or not done or (is_last and self._has_lines):
            self._last_line, self._has_lines = now, not is_last
            self._write(done, note)

    def each(self, items: Iterable[T]) -> Iterator[T]:
        """Yields items and counts them; several iterables may share a bar."""
        for item in items:
            self._counted += 1
            self(self._counted)
            yield item

    def close(self) -> None:
        """Removes the bar from the terminal."""
        if self._row:
            self._row.remove()
        self._row, self._is_shown = None, False

    def __enter__(self) -> Self:
        """Returns the bar."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the bar."""
        self.close()

    def _count(self, done: int) -> str:
        """Returns `12/40 (30%)`."""
        percent = f" ({100 * done // self._total}%)" if self._total else ""
        return f"{done}/{self._total or '?'}{percent}"

    def _rate(self, done: int) -> str:
        """Returns `25 fps, ETA 1:05`, or what is known of it."""
        rate, parts = self._estimator.rate, []
        if self._rate_unit and rate > 0:
            parts.append(f"{format_rate(rate)} {self._rate_unit}")
        if rate > 0 and done < self._total:
            parts.append(f"ETA {format_duration(self._estimator.seconds_left(done, self._total))}")
        return ", ".join(parts)

    def _json(self, done: int, note: str) -> str:
        """Returns what is known as JSON; null for what is not."""
        rate = self._estimator.rate or None
        left = self._estimator.seconds_left(done, self._total) if self._total else math.inf
        values = {
            "event": "progress",
            "label": self._label,
            "done": done,
            "total": self._total or None,
            "rate_per_second": rate and round(rate, 3),
            "eta_seconds": round(left, 1) if math.isfinite(left) else None,
            "note": note or None,
        }
        return json.dumps(values)

    def _write(self, done: int, note: str) -> None:
        """Writes a line, JSON never with a logger's prefix."""
        if self._is_json:
            print(self._json(done, note), file=sys.stderr, flush=True)
            return
        start = f"{self._label} {self._count(done)}"
        line = ", ".join(filter(None, [start, self._rate(done), note]))
        if self._log is not None:
            self._log.info("%s", line)
        else:
            print(line, file=sys.stderr, flush=True)


class _Terminal:
    """The rows of all open bars, below what is printed and logged."""

    _lock = threading.RLock()
    _shown: "_Terminal | None" = None

    def __init__(self, console: "Console") -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.table import Column

        self._stream = sys.stderr
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(20, table_column=Column(no_wrap=False)),  # shrinks first
            TextColumn("{task.fields[count]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TextColumn(
                "{task.fields[note]}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
            ),
            console=console,
            expand=True,
            refresh_per_second=5,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # else what is printed would go to the terminal
        )
        self._progress.start()
        # Handlers keep the stream that they began with; absl wraps the one that has a stream.
        handlers = [getattr(h, "python_handler", h) for h in logging.getLogger().handlers]
        self._handlers = [
            handler
            for handler in handlers
            if isinstance(handler, logging.StreamHandler) and handler.stream is self._stream
        ]
        for handler in self._handlers:
            handler.setStream(sys.stderr)

    @classmethod
    def add_row(cls, label: str, total: int) -> "_Row | None":
        """Returns a new row; None if the standard error is no terminal for bars."""
        with cls._lock:
            if cls._shown is None:
                if not sys.stderr.isatty():
                    return None
                from rich.console import Console

                console = Console(stderr=True, highlight=False)
                if not console.is_terminal or console.is_dumb_terminal:
                    return None
                cls._shown = cls(console)
            progress = cls._shown._progress
            task = progress.add_task(label, total=total or None, count="", rate="", note="")
            return _Row(cls._shown, progress, task)

    def remove_row(self, task: "TaskID") -> None:
        """Removes a row; the last one gives the terminal back."""
        with self._lock:
            self._progress.remove_task(task)
            if not self._progress.tasks:
                for handler in self._handlers:
                    handler.setStream(self._stream)
                self._progress.stop()
                type(self)._shown = None


class _Row:
    """A row of `_Terminal`."""

    def __init__(self, terminal: _Terminal, progress: "Progress", task: "TaskID") -> None:
        self._terminal, self._progress, self._task = terminal, progress, task

    def update(self, label: str, done: int, total: int, fields: Mapping[str, str]) -> None:
        """Changes what the row shows."""
        values: dict[str, Any] = {"completed": done, "total": total or None, **fields}
        self._progress.update(self._task, description=label, **values)

    def remove(self) -> None:
        """Removes the row."""
        self._terminal.remove_row(self._task)


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
