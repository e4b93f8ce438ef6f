"""`lipsync generate`: its progress line, its report; and what `lipsync animate` shares with it."""

import argparse
import logging
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from lipsync_jax.progress import speed
from lipsync_jax.synthesis import arguments, manifest, workers
from lipsync_jax.text import printable

Make = Callable[..., Any]  # files and options -> a `report.Report`
AddArguments = Callable[[argparse.ArgumentParser], None]
_LISTED = 8  # stretches without a face that the report names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lipsync generate`."""
    arguments.add_arguments(parser)


def run(chosen: argparse.Namespace) -> int:
    """Generates one video and reports on it, or many; returns the exit status.

    Raises:
        FileNotFoundError, ValueError, MemoryError: see `pipeline.generate`.
    """
    from lipsync_jax.synthesis import pipeline

    def load(checkpoint: Path) -> Make:
        return pipeline.Synthesizer.load(checkpoint).generate

    return perform(chosen, pipeline.generate, load, add_arguments)


def perform(
    chosen: argparse.Namespace,
    make_one: Make,
    load: Callable[[Path], Make],
    add_arguments: AddArguments,
) -> int:
    """Makes one video and reports on it, or many; returns the exit status.

    Args:
        chosen: the command line.
        make_one: checkpoint, face, audio and outfile, and options -> its `Report`.
        load: a checkpoint -> the same without the checkpoint, for many videos.
        add_arguments: adds the command's options to a parser.
    """
    workers.share_heaps()
    from lipsync_jax.training import launch

    launch.enable_compilation_cache()
    for name in ("absl", "jax", "matplotlib"):  # on backends tried, files restored, fonts found
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.showwarning = lambda message, *_, **__: print(printable(message), file=sys.stderr)
    # A batch system's polite kill unwinds like Ctrl-C, so that no half-written file stays.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if chosen.batch is not None:
            return manifest.run(chosen, load, add_arguments)
        files, options = split(chosen)
        line = ProgressLine(sys.stderr)
        try:
            report = make_one(chosen.checkpoint_path, *files, on_progress=line, **options)
        finally:
            line.close()
    finally:
        signal.signal(signal.SIGTERM, before)
    print(describe(report))
    return 0


def split(chosen: argparse.Namespace) -> tuple[list[Path | None], dict[str, Any]]:
    """Face, audio and outfile; and the options as the library takes them.

    Raises:
        ValueError: there is no face.
    """
    options = {**vars(chosen)}
    for name in ("command", "run", "batch", "checkpoint_path"):
        options.pop(name, None)
    files = [options.pop(name) for name in ("face", "audio", "outfile")]
    if files[0] is None:
        raise ValueError("--face is missing; name a video or a picture")
    return files, options


def describe(report) -> str:
    """A few lines about a `pipeline.Report`."""
    lines = [
        f"{printable(report.outfile)}: {report.duration:.2f} s, {report.frames} frames at "
        f"{float(report.frame_rate):.6g} a second",
        f"{report.edited} frames redrawn, {report.kept} left as they were; "
        f"{report.seconds:.1f} s in all, {report.frames_per_second:.1f} frames/s drawn and written",
    ]
    if report.missing:
        named = [f"{clock(a)}-{clock(b)}" for a, b in report.missing[:_LISTED]]
        more = len(report.missing) - len(named)
        named += [f"and {more} more"] if more else []
        total = sum(b - a for a, b in report.missing)
        lines.append(f"no face was found for {total:.2f} s: {', '.join(named)}")
    return "\n".join(lines)


class ProgressLine:
    """Shows progress: one line rewritten on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, stream: TextIO):
        self._stream, self._terminal = stream, stream.isatty()
        self._shown, self._before, self._width = 0.0, "decode | faces", 0

    def __call__(self, progress) -> None:
        """Takes a `pipeline.Progress`."""
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
            f"ETA {clock(left, 0)}"
        )

    def close(self) -> None:
        """Ends the line."""
        if self._terminal and self._width:
            print(file=self._stream)

    def _show(self, text: str) -> None:
        start, end = ("\r", "") if self._terminal else ("", "\n")
        print(start + text.ljust(self._width), end=end, file=self._stream, flush=True)
        self._width = len(text) if self._terminal else 0


def clock(seconds: float, digits: int = 2) -> str:
    """Seconds as 1:02.50, or 1:00:02.50 from an hour on."""
    whole, part = divmod(round(seconds * 10**digits), 10**digits)
    hours, minutes = whole // 3600, whole // 60 % 60
    start = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{start}:{whole % 60:02}" + (f".{part:0{digits}}" if digits else "")
