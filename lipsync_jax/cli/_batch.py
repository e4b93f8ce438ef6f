"""Many videos from one table: `lipsync generate --batch manifest.csv`, or `lipsync animate`."""

import argparse
import copy
import csv
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

from lipsync_jax.cli import _terminal
from lipsync_jax.media import prefetch
from lipsync_jax.text import printable
from lipsync_jax.types import Argument

Make = Callable[..., Argument]  # files and options -> a `progress.Report`
AddArguments = Callable[[argparse.ArgumentParser], None]

FILES = ("face", "audio", "outfile")
_NOT_IN_ROWS = ("batch", "checkpoint_path", "checkpoint-path", "help")


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
    from lipsync_jax.media.containers import FFmpegError

    prefetch.share_heaps()
    _terminal.quiet()
    # SIGTERM, as a batch system sends it, unwinds like Ctrl-C, so that no half-written file stays.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if chosen.batch is not None:
            return run(chosen, load, add_arguments)
        files, options = split(chosen)
        line = _terminal.ProgressLine(sys.stderr)
        try:
            report = make_one(chosen.checkpoint_path, *files, on_progress=line, **options)
        except FFmpegError as error:
            given = " and ".join(str(file) for file in files[:2] if file is not None)
            raise ValueError(
                f"{given} could not be used ({error}); convert them with another program first"
            ) from error
        finally:
            line.close()
    finally:
        signal.signal(signal.SIGTERM, before)
    print(_terminal.describe(report))
    return 0


def split(chosen: argparse.Namespace) -> tuple[list[Path | None], dict[str, Argument]]:
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


class Outcome(NamedTuple):
    """How a row went.

    Attributes:
        row: its number, from 1.
        outfile: what it was to make.
        done: whether it did.
        said: its frames and speed, or what went wrong.
    """

    row: int
    outfile: str
    done: bool
    said: str


class Options(NamedTuple):
    """What rows may say.

    Attributes:
        parser: of a row as a command line; its errors are ValueErrors.
        known: options that may be columns.
        single: those of all options that take one value.
    """

    parser: argparse.ArgumentParser
    known: frozenset[str]
    single: frozenset[str]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _options(add_arguments: Callable[[argparse.ArgumentParser], None]) -> Options:
    parser = _Parser(add_help=False, allow_abbrev=False)
    add_arguments(parser)
    spelt = {
        spelling.removeprefix("--"): action
        for action in parser._actions
        for spelling in action.option_strings
    }
    single = (name for name, action in spelt.items() if action.nargs in (None, "?"))
    return Options(parser, frozenset(spelt).difference(_NOT_IN_ROWS), frozenset(single))


def run(
    chosen: argparse.Namespace,
    load: Callable[[Path], Callable[..., Argument]],
    add_arguments: Callable[[argparse.ArgumentParser], None],
) -> int:
    """Makes the videos one after the other, going on past those that fail.

    Args:
        chosen: the command line; its options hold where a row has none of its own.
        load: a checkpoint -> what makes a video of face, audio, outfile and options.
        add_arguments: adds the command's options to a parser.

    Returns:
        0 if all were made, else 1.

    Raises:
        FileNotFoundError, ValueError: the table or the checkpoint can't be used.
    """
    options = _options(add_arguments)
    rows = read(chosen.batch, options)
    make = load(chosen.checkpoint_path)
    outcomes: list[Outcome] = []
    for number, row in enumerate(rows, 1):
        made_of = printable(row.get("outfile", chosen.outfile))
        print(f"{number}/{len(rows)}: {made_of}", file=sys.stderr)
        before = {Path(outcome.outfile).absolute() for outcome in outcomes if outcome.done}
        outcomes.append(_make(make, number, row, options, chosen, before))
    print(table(outcomes))
    return 0 if all(outcome.done for outcome in outcomes) else 1


def read(path: Path, options: Options) -> list[dict[str, str]]:
    """The rows of a table, without empty cells.

    Args:
        path: comma-separated UTF-8 with a line of column names: face, audio, outfile, and names of
            options without their dashes. Four numbers of an option are separated by spaces.
            Relative paths start at the current folder.
        options: those that columns may name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such table.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"batch {path} does not exist; give a CSV file")
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, restkey="", skipinitialspace=True)
        try:
            rows = [*reader]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(
                f"batch {path} is no UTF-8 CSV file ({error}); save it anew"
            ) from error
        names = [(name or "").strip() for name in reader.fieldnames or ()]
    unknown = [name for name in names if name not in options.known]
    if unknown or "outfile" not in names:
        fault = (
            f"has no option for {', '.join(map(repr, unknown))}" if unknown else "has no outfile"
        )
        raise ValueError(
            f"batch {path}: its first line {fault}; name the columns face, audio, outfile and, "
            "if you like, options without their dashes"
        )
    if not rows:
        raise ValueError(f"batch {path} has no rows below its first line; add some")
    cleaned = [{(k or "").strip(): v for k, v in row.items()} for row in rows]
    return [{k: _cell(v) for k, v in row.items() if _cell(v)} for row in cleaned]


def table(outcomes: list[Outcome]) -> str:
    """What was made and what failed, a line each."""
    names = [printable(outcome.outfile) for outcome in outcomes]
    width = max(map(len, names))
    lines = [
        f"{outcome.row:>4}  {'done' if outcome.done else 'FAILED':<6}  "
        f"{name:<{width}}  {printable(outcome.said)}"
        for name, outcome in zip(names, outcomes, strict=True)
    ]
    failed = sum(not outcome.done for outcome in outcomes)
    return "\n".join([*lines, f"{len(outcomes) - failed} of {len(outcomes)} made, {failed} failed"])


def _make(
    make: Make,
    number: int,
    row: Mapping[str, str],
    options: Options,
    chosen: argparse.Namespace,
    before: set[Path],
) -> Outcome:
    line = _terminal.ProgressLine(sys.stderr)
    begun = time.monotonic()
    try:
        if "" in row:
            raise ValueError("this row has more cells than there are columns")
        words = ["--checkpoint_path", str(chosen.checkpoint_path), *_words(row, options)]
        files, settings = split(options.parser.parse_args(words, copy.copy(chosen)))
        assert files[2] is not None  # --outfile has a default
        if Path(files[2]).absolute() in before:
            raise ValueError(f"outfile {files[2]} was made by a row above; name another")
        report = make(*files, on_progress=line, **settings)
    except (ValueError, OSError, MemoryError) as error:
        return Outcome(number, row.get("outfile", str(chosen.outfile)), False, str(error))
    except Exception as error:  # a decoder's or a program's fault still concerns one row
        said = f"{type(error).__name__}: {error}"
        return Outcome(number, row.get("outfile", str(chosen.outfile)), False, said)
    finally:
        line.close()
    said = f"{report.edited} of {report.frames} frames in {time.monotonic() - begun:.1f} s"
    return Outcome(number, str(files[2]), True, "; ".join([said, *report.notes]))


def _words(row: Mapping[str, str], options: Options) -> Iterator[str]:
    """A row as a command line; a cell of an option that takes several values is divided."""
    for name, cell in row.items():
        values = [cell] if name in options.single else shlex.split(cell)
        if len(values) == 1:
            yield f"--{name}={values[0]}"  # a value may begin with a dash
        else:
            yield from (f"--{name}", *values)


def _cell(value: str | list[str] | None) -> str:
    return " ".join(value) if isinstance(value, list) else (value or "").strip()
