"""Many videos from one table: `lipsync generate --batch manifest.csv`."""

import argparse
import copy
import csv
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from lipsync_jax.synthesis import arguments

FILES = ("face", "audio", "outfile")
_NOT_IN_ROWS = ("batch", "checkpoint_path", "checkpoint-path", "help")


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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ValueError(message)


def run(chosen: argparse.Namespace) -> int:
    """Makes the videos one after the other, going on past those that fail.

    Args:
        chosen: the command line; its options hold where a row has none of its own.

    Returns:
        0 if all were made, else 1.

    Raises:
        FileNotFoundError, ValueError: the table or the checkpoint can't be used.
    """
    from lipsync_jax.synthesis.pipeline import Synthesizer

    rows = read(chosen.batch)
    synthesizer = Synthesizer.load(chosen.checkpoint_path)
    outcomes: list[Outcome] = []
    for number, row in enumerate(rows, 1):
        print(f"{number}/{len(rows)}: {row.get('outfile', chosen.outfile)}", file=sys.stderr)
        before = {Path(outcome.outfile).absolute() for outcome in outcomes if outcome.done}
        outcomes.append(_make(synthesizer, number, row, chosen, before))
    print(table(outcomes))
    return 0 if all(outcome.done for outcome in outcomes) else 1


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table, without empty cells.

    Args:
        path: comma-separated UTF-8 with a line of column names: face, audio, outfile, and names of
            options without their dashes. Four numbers of an option are separated by spaces.
            Relative paths start at the current folder.

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
    unknown = [name for name in names if name not in _known()]
    if unknown or "outfile" not in names:
        fault = (
            f"has no option for {', '.join(map(repr, unknown))}" if unknown else "has no outfile"
        )
        raise ValueError(
            f"batch {path}: its first line {fault}; name the columns face, audio, outfile and, "
            "if you like, options of generate without their dashes"
        )
    if not rows:
        raise ValueError(f"batch {path} has no rows below its first line; add some")
    cleaned = [{(k or "").strip(): v for k, v in row.items()} for row in rows]
    return [{k: _cell(v) for k, v in row.items() if _cell(v)} for row in cleaned]


def table(outcomes: list[Outcome]) -> str:
    """What was made and what failed, a line each."""
    width = max(len(outcome.outfile) for outcome in outcomes)
    lines = [
        f"{outcome.row:>4}  {'done' if outcome.done else 'FAILED':<6}  "
        f"{outcome.outfile:<{width}}  {outcome.said}"
        for outcome in outcomes
    ]
    failed = sum(not outcome.done for outcome in outcomes)
    return "\n".join([*lines, f"{len(outcomes) - failed} of {len(outcomes)} made, {failed} failed"])


def _make(synthesizer, number: int, row: Mapping[str, str], chosen, before: set[Path]) -> Outcome:
    from lipsync_jax.synthesis.command import ProgressLine, split

    line = ProgressLine(sys.stderr)
    begun = time.monotonic()
    try:
        if "" in row:
            raise ValueError("this row has more cells than there are columns")
        parser = _Parser(add_help=False, allow_abbrev=False)
        arguments.add_arguments(parser)
        words = ["--checkpoint_path", str(chosen.checkpoint_path), *_words(row)]
        mine = parser.parse_args(words, copy.copy(chosen))
        files, options = split(mine)
        if Path(files[2]).absolute() in before:
            raise ValueError(f"outfile {files[2]} was made by a row above; name another")
        report = synthesizer.generate(*files, on_progress=line, **options)
    except (ValueError, OSError, MemoryError) as error:
        return Outcome(number, row.get("outfile", str(chosen.outfile)), False, str(error))
    finally:
        line.close()
    said = f"{report.edited} of {report.frames} frames in {time.monotonic() - begun:.1f} s"
    return Outcome(number, str(files[2]), True, said)


def _words(row: Mapping[str, str]) -> Iterator[str]:
    """A row as a command line; a cell of an option that takes several values is divided."""
    for name, cell in row.items():
        values = [cell] if name in _single() else shlex.split(cell)
        if len(values) == 1:
            yield f"--{name}={values[0]}"  # a value may begin with a dash
        else:
            yield from (f"--{name}", *values)


def _options() -> dict[str, argparse.Action]:
    parser = _Parser(add_help=False)
    arguments.add_arguments(parser)
    return {
        spelling.removeprefix("--"): action
        for action in parser._actions
        for spelling in action.option_strings
    }


def _known() -> set[str]:
    return set(_options()) - set(_NOT_IN_ROWS)


def _single() -> set[str]:
    return {name for name, action in _options().items() if action.nargs in (None, "?")}


def _cell(value: str | list[str] | None) -> str:
    return " ".join(value) if isinstance(value, list) else (value or "").strip()
