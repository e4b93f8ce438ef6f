"""Terminal output of the commands: progress, times, reports, errors."""

import argparse
import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lipsync_jax import progress
from lipsync_jax.progress import ProgressBar
from lipsync_jax.text import printable, printable_lines, spell_options

if TYPE_CHECKING:
    from lipsync_jax.synthesis.progress import GenerationResult, OnProgress

TRACEBACK_VARIABLE = "LIPSYNC_TRACEBACK"  # set: unexpected errors show their traceback
PROGRESS_HELP = (
    "how to show progress on the standard error: auto (default), bars on a terminal and lines "
    "elsewhere; plain, lines; json, lines of JSON; none"
)
# The commands that show progress; `main` gives these the option `--progress`.
PROGRESS_COMMANDS = (
    "demo", "prepare", "data", "synthetic", "dub", "animate", "personalize", "list-faces", "sync",
    "evaluate", "av-correlation", "diagnose", "export",
)  # fmt: skip
_MAX_LISTED = 8  # intervals that a report lists
_STAGES = {"faces": "detect faces", "generate": "generate"}  # of generation -> label


def quiet() -> None:
    """Silences libraries' log messages, and turns on the compilation cache."""
    from lipsync_jax.training import distributed

    distributed.enable_compilation_cache()
    for name in ("absl", "jax", "matplotlib"):  # on backends tried, files restored, fonts found
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.showwarning = lambda message, *_, **__: print(printable(message), file=sys.stderr)


def add_progress(parser: argparse.ArgumentParser) -> None:
    """Adds `--progress`, see `progress.set_mode`."""
    parser.add_argument(
        "--progress", choices=progress.MODES, default="auto", metavar="MODE", help=PROGRESS_HELP
    )


def describe(result: "GenerationResult") -> str:
    """Formats a `progress.GenerationResult` in a few lines."""
    if result.preview_only:
        first = (
            f"{printable(result.outfile)}: {result.frames} frames before and after, "
            f"{result.edited} of them edited; no video was made (--preview-only)"
        )
        return "\n".join([first, *_describe_faces(result), *result.notes])
    lines = [
        f"{printable(result.outfile)}: {result.duration:.2f} s, {result.frames} frames at "
        f"{float(result.frame_rate):.6g} a second",
        f"{result.edited} frames edited, {result.unchanged} unchanged; "
        f"{result.wall_seconds:.1f} s in total, {result.frames_per_second:.1f} frames/s generated "
        "and written",
    ]
    lines += _describe_faces(result)
    if result.credit:
        lines.append(result.credit)
    return "\n".join([*lines, *result.notes])


def describe_unexpected(error: Exception) -> str:
    """Formats an error that no code expects: its type, its message, and what to do."""
    return (
        f"{type(error).__name__}: {printable_lines(error)}\nThis is a fault of the program: please "
        f"report it with what {TRACEBACK_VARIABLE}=1 adds."
    )


def spelled(message: object, arguments: argparse.Namespace) -> str:
    """Spells the options in a message as the command line does, see `text.spell_options`."""
    return spell_options(message, {name: f"--{name.replace('_', '-')}" for name in vars(arguments)})


@contextlib.contextmanager
def generation_progress() -> "Iterator[OnProgress]":
    """Yields what shows a `synthesis.progress.Progress`."""
    with ProgressBar("load", rate_unit="fps") as bar:
        yield lambda now: bar(now.done, total=now.total, label=_STAGES[now.stage])


def timestamp(seconds: float, digits: int = 2) -> str:
    """Writes seconds as 1:02.50, or 1:00:02.50 from an hour on."""
    whole, part = divmod(round(seconds * 10**digits), 10**digits)
    hours, minutes = whole // 3600, whole // 60 % 60
    start = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{start}:{whole % 60:02}.{part:0{digits}}"


def _describe_faces(result: "GenerationResult") -> list[str]:
    lines = []
    if result.face_height and result.generated_height:
        lines.append(_describe_sizes(result.face_height, result.generated_height))
    if result.missing_intervals:
        lines.append(f"no face was found for {_describe_intervals(result.missing_intervals)}")
    if result.too_small_intervals:
        times = _describe_intervals(result.too_small_intervals)
        lines.append(f"a face was too small and left unchanged (--min-face-height) for {times}")
    return lines


def _describe_sizes(face: float, generated: int) -> str:
    text = f"face {face:.0f} px high, generated at {generated} px"
    if face > 1.5 * generated:
        factor = face / generated
        text += f": enlarged {factor:.1f} times, so teeth and tongue are softer than the frame"
    return text


def _describe_intervals(intervals: Sequence[tuple[float, float]]) -> str:
    named = [f"{timestamp(a)}-{timestamp(b)}" for a, b in intervals[:_MAX_LISTED]]
    more = len(intervals) - len(named)
    named += [f"and {more} more"] if more else []
    return f"{sum(b - a for a, b in intervals):.2f} s: {', '.join(named)}"
