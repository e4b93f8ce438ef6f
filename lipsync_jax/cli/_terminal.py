"""What commands print: progress, times, reports; and what they keep quiet."""

import logging
import sys
import time
import warnings
from typing import TYPE_CHECKING, TextIO

from lipsync_jax.progress import speed
from lipsync_jax.text import printable

if TYPE_CHECKING:
    from lipsync_jax.synthesis.progress import Progress, Report

_LISTED = 8  # intervals without a face that a report names


def quiet() -> None:
    """Keeps libraries' progress off the terminal, and turns on the compilation cache."""
    from lipsync_jax.training import distributed

    distributed.enable_compilation_cache()
    for name in ("absl", "jax", "matplotlib"):  # on backends tried, files restored, fonts found
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.showwarning = lambda message, *_, **__: print(printable(message), file=sys.stderr)


def describe(report: "Report") -> str:
    """A few lines about a `progress.Report`."""
    lines = [
        f"{printable(report.outfile)}: {report.duration:.2f} s, {report.frames} frames at "
        f"{float(report.frame_rate):.6g} a second",
        f"{report.edited} frames redrawn, {report.kept} left as they were; "
        f"{report.seconds:.1f} s in all, {report.frames_per_second:.1f} frames/s drawn and written",
    ]
    if report.missing:
        named = [f"{timestamp(a)}-{timestamp(b)}" for a, b in report.missing[:_LISTED]]
        more = len(report.missing) - len(named)
        named += [f"and {more} more"] if more else []
        total = sum(b - a for a, b in report.missing)
        lines.append(f"no face was found for {total:.2f} s: {', '.join(named)}")
    return "\n".join([*lines, *report.notes])


class ProgressLine:
    """Shows progress: one line rewritten on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._terminal = stream, stream.isatty()
        self._shown, self._before, self._width = 0.0, "decode | faces", 0

    def __call__(self, progress: "Progress") -> None:
        """Takes a `progress.Progress`."""
        now, last = time.monotonic(), progress.done == progress.total
        if now - self._shown < (0.2 if self._terminal else 10) and not last:
            return
        self._shown = now
        if progress.stage == "faces":
            self._before = f"decode | faces {progress.done}/{progress.total}"
            self._show(self._before)
            return
        rate = progress.done / max(progress.seconds, 1e-6)
        left = (progress.total - progress.done) / max(rate, 1e-6)
        self._show(
            f"{self._before} | generate {progress.done}/{progress.total} | {speed(rate)} fps | "
            f"ETA {timestamp(left, 0)}"
        )

    def close(self) -> None:
        """Ends the line."""
        if self._terminal and self._width:
            print(file=self._stream)

    def _show(self, text: str) -> None:
        start, end = ("\r", "") if self._terminal else ("", "\n")
        print(start + text.ljust(self._width), end=end, file=self._stream, flush=True)
        self._width = len(text) if self._terminal else 0


def timestamp(seconds: float, digits: int = 2) -> str:
    """Writes seconds as 1:02.50, or 1:00:02.50 from an hour on."""
    whole, part = divmod(round(seconds * 10**digits), 10**digits)
    hours, minutes = whole // 3600, whole // 60 % 60
    start = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{start}:{whole % 60:02}" + (f".{part:0{digits}}" if digits else "")
