"""Makes many videos from one table: `lipsync dub --manifest list.csv`, or `lipsync animate`."""

import argparse
import copy
import csv
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lipsync_jax import paths
from lipsync_jax.cli import _json_output, _staging, _terminal
from lipsync_jax.cli._parser import OPTIONS_OF_0_1, QuietParser
from lipsync_jax.media import prefetch
from lipsync_jax.progress import ProgressBar
from lipsync_jax.text import printable, split_words
from lipsync_jax.types import Argument, Json

if TYPE_CHECKING:
    from lipsync_jax.evaluation.sync.dub_sync import DubSync

Make = Callable[..., Argument]  # files and options -> a `progress.GenerationResult`
AddArguments = Callable[[argparse.ArgumentParser], None]
# Face, outfile, options, result -> the audio offset before and after.
MeasureSync = Callable[..., "DubSync | None"]

FILES = ("face", "audio", "outfile")
_NOT_IN_ROWS = ("manifest", "checkpoint-path", "report-sync", "help")


def run_command(
    arguments: argparse.Namespace,
    make_one: Make,
    load: Callable[[Path | None], Make],
    add_arguments: AddArguments,
    measure_sync: MeasureSync = lambda *_: None,
) -> int:
    """Makes one video, or the videos of a manifest, and prints reports; returns the exit status.

    Args:
        arguments: the command line.
        make_one: makes one video of a checkpoint (None: the built-in model), face, audio, outfile
            and options.
        load: a checkpoint -> what makes videos of face, audio, outfile and options.
        add_arguments: adds the command's options to a parser.
        measure_sync: measures the audio offset of one video before and after.
    """
    from lipsync_jax.media.containers import FFmpegError

    prefetch.limit_malloc_arenas()
    _terminal.quiet()
    # SIGTERM, as a batch system sends it, unwinds like Ctrl-C, so that no partial file is left.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if arguments.manifest is not None:
            return run_rows(arguments, load, add_arguments)
        files, options = split_arguments(arguments)
        try:
            with _terminal.generation_progress() as show:
                report = make_one(arguments.checkpoint_path, *files, on_progress=show, **options)
            sync = measure_sync(files[0], files[2], options, report)
        except FFmpegError as error:
            given = " and ".join(str(file) for file in files[:2] if file is not None)
            raise ValueError(
                f"{given} could not be used ({error}); convert the files with another program first"
            ) from error
    finally:
        signal.signal(signal.SIGTERM, before)
    print(_terminal.describe(report))
    arguments.json.update(**_json_output.generation(report, files[0], files[1], sync))
    if sync is not None:
        from lipsync_jax.evaluation.sync import dub_sync

        print("\n".join(dub_sync.describe(sync)))
    return 0


def split_arguments(arguments: argparse.Namespace) -> tuple[list[Path | None], dict[str, Argument]]:
    """Returns face, audio and outfile; and the options as the library takes them.

    Raises:
        ValueError: --face is missing.
    """
    options = {**vars(arguments)}
    for name in ("command", "run", "manifest", "checkpoint_path", "report_sync", "json"):
        options.pop(name, None)
    files = [options.pop(name) for name in ("face", "audio", "outfile")]
    if files[0] is None:
        raise ValueError("--face is missing; name a video or an image")
    return files, options


class RowResult(NamedTuple):
    """The result of one row.

    Attributes:
        row: number of the row, from 1.
        outfile: path of the video.
        succeeded: whether the video was written.
        message: frames and seconds, or the error.
        credit: the model and its licence, see `model_info.credit`; empty if the row failed.
        values: of the row in the document of `--json`.
    """

    row: int
    outfile: str
    succeeded: bool
    message: str
    credit: str = ""
    values: Mapping[str, Json] = {}


class RowOptions(NamedTuple):
    """The options that a row may set.

    Attributes:
        parser: parses a row as a command line.
        columns: names of the options that may be columns.
        single_valued: names of the options that take one value.
    """

    parser: QuietParser
    columns: frozenset[str]
    single_valued: frozenset[str]


def make_row_options(add_arguments: AddArguments, command: str) -> RowOptions:
    """Returns the options that the rows of a command's manifest may set.

    Args:
        add_arguments: adds the command's options to a parser.
        command: its name.
    """
    renamed = OPTIONS_OF_0_1.get(command, {})
    parser = QuietParser(add_help=False, allow_abbrev=False, renamed=renamed)
    add_arguments(parser)
    actions = {
        spelling.removeprefix("--"): action
        for action in parser._actions
        for spelling in action.option_strings
    }
    single = (name for name, action in actions.items() if action.nargs in (None, "?"))
    return RowOptions(parser, frozenset(actions).difference(_NOT_IN_ROWS), frozenset(single))


def run_rows(
    arguments: argparse.Namespace,
    load: Callable[[Path | None], Make],
    add_arguments: AddArguments,
) -> int:
    """Makes the videos one after the other; a row that fails does not stop the others.

    Args:
        arguments: the command line, which supplies the options that a row leaves out.
        load: a checkpoint -> what makes videos of face, audio, outfile and options.
        add_arguments: adds the command's options to a parser.

    Returns:
        0 if all videos were made, else 1.

    Raises:
        FileNotFoundError, ValueError: the manifest or the checkpoint can't be used.
    """
    row_options = make_row_options(add_arguments, arguments.command)
    rows = read_rows(arguments.manifest, row_options, f"--manifest {arguments.manifest}")
    make = load(arguments.checkpoint_path)
    results: list[RowResult] = []
    items: list[dict[str, Json]] = []
    finished: set[Path] = set()
    with ProgressBar("videos", len(rows)) as bar:
        for number, row in enumerate(rows, 1):
            bar(number - 1, str(row.get("outfile", arguments.outfile)))
            result = _make(make, number, row, row_options, arguments, finished)
            if result.succeeded:
                finished.add(paths.absolute(result.outfile))
            results.append(result)
            items.append(_item(result))
            made = len(finished)
            arguments.json.update(made=made, failed=len(results) - made, items=items)
    print(table(results))
    for credit in dict.fromkeys(result.credit for result in results if result.credit):
        print(credit)
    return 0 if all(result.succeeded for result in results) else 1


def read_rows(
    path: Path,
    row_options: RowOptions,
    name: str,
    required: Collection[str] = ("outfile",),
) -> list[dict[str, str]]:
    """Reads the rows of a manifest, without empty cells.

    Args:
        path: UTF-8, separated by commas or semicolons, with a line of column names: face, audio,
            outfile, and names of options without their leading dashes. Several values of an option
            are separated by spaces. Relative paths start at the current folder.
        row_options: the options that columns may name.
        name: of the table, for errors.
        required: columns that must be there.

    Returns:
        Column name, with hyphens -> cell, for each row.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not such a table.
    """
    paths.require_file(path, "a CSV file", name)
    with open(path, newline="", encoding="utf-8-sig") as file:
        try:
            first = file.readline()
            file.seek(0)
            # Spreadsheets write semicolons where numbers have decimal commas.
            separator = ";" if ";" in first and "," not in first else ","
            reader = csv.DictReader(file, restkey="", delimiter=separator, skipinitialspace=True)
            rows = [*reader]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(
                f"{name} is no UTF-8 CSV file ({error}); save the table again"
            ) from error
        names = [(name or "").strip() for name in reader.fieldnames or ()]
    columns = {name: _column(name, row_options) for name in names}
    unknown = [name for name in names if columns[name] not in row_options.columns]
    lacking = [name for name in required if name not in names]
    doubled = _same_columns(names, columns)
    if doubled:
        raise ValueError(
            f"{name}: the columns {' and '.join(map(repr, doubled))} are one option; remove all "
            "but one of them"
        )
    if unknown or lacking:
        problem = (
            f"has no option for {', '.join(map(repr, unknown))}"
            if unknown
            else f"has no {' and no '.join(lacking)}"
        )
        raise ValueError(
            f"{name}: the first line {problem}; name the columns face, audio, outfile "
            "and optionally options without their leading dashes"
        )
    if not rows:
        raise ValueError(f"{name} has no rows below its first line; add some")
    named = [{columns.get((k or "").strip(), ""): v for k, v in row.items()} for row in rows]
    return [{k: _cell(v) for k, v in row.items() if _cell(v)} for row in named]


def parse_row(
    row: Mapping[str, str], row_options: RowOptions, given: argparse.Namespace
) -> argparse.Namespace:
    """Parses a row as a command line.

    Args:
        row: see `read_rows`.
        row_options: see `read_rows`.
        given: options, of which the row replaces those that it has.

    Raises:
        ValueError: a cell has a wrong value, or there are more cells than columns.
    """
    if "" in row:
        raise ValueError("this row has more cells than there are columns")
    return row_options.parser.parse_args([*_row_argv(row, row_options)], given)


def _same_columns(names: Sequence[str], columns: Mapping[str, str]) -> list[str]:
    """Returns the first names of columns that are one option; empty where all options differ."""
    of_option: dict[str, list[str]] = {}
    for name in filter(None, names):
        of_option.setdefault(columns[name], []).append(name)
    return next((found for found in of_option.values() if len(found) > 1), [])


def _column(name: str, row_options: RowOptions) -> str:
    """Returns the shown name of an option, which has hyphens and may have had another name."""
    return row_options.parser.canonical(f"--{name}").removeprefix("--")


def table(results: list[RowResult]) -> str:
    """Formats the results, a line each, and their number."""
    names = [printable(result.outfile) for result in results]
    width = max(map(len, names))
    lines = [
        f"{result.row:>4}  {'done' if result.succeeded else 'FAILED':<6}  "
        f"{name:<{width}}  {printable(result.message)}"
        for name, result in zip(names, results, strict=True)
    ]
    failed = sum(not result.succeeded for result in results)
    return "\n".join([*lines, f"{len(results) - failed} of {len(results)} made, {failed} failed"])


def _make(
    make: Make,
    number: int,
    row: Mapping[str, str],
    row_options: RowOptions,
    arguments: argparse.Namespace,
    finished: set[Path],
) -> RowResult:
    begun = time.monotonic()
    try:
        given = parse_row(row, row_options, copy.copy(arguments))
        if paths.absolute(given.outfile) in finished:
            raise ValueError(f"`outfile` {given.outfile} was made by a row above; name another")
        with _staging.staged(given) as local, _terminal.generation_progress() as show:
            files, settings = split_arguments(local)
            report = make(*files, on_progress=show, **settings)
    except (ValueError, OSError, MemoryError) as error:
        message = _terminal.spelled(error, arguments)
        return RowResult(number, row.get("outfile", str(arguments.outfile)), False, message)
    except Exception as error:  # an error of a decoder or of this program concerns one row only
        message = f"{type(error).__name__}: {error}"
        return RowResult(number, row.get("outfile", str(arguments.outfile)), False, message)
    message = f"{report.edited} of {report.frames} frames in {time.monotonic() - begun:.1f} s"
    values = _json_output.generation(report, files[0], files[1])
    return RowResult(
        number, str(given.outfile), True, "; ".join([message, *report.notes]), report.credit, values
    )


def _item(result: RowResult) -> dict[str, Json]:
    found = result.values if result.succeeded else {"error": result.message}
    return {"row": result.row, "outfile": result.outfile, **found}


def _row_argv(row: Mapping[str, str], row_options: RowOptions) -> Iterator[str]:
    """Yields a row as a command line; a cell of an option of several values is split."""
    for name, cell in row.items():
        values = [cell] if name in row_options.single_valued else split_words(cell, f"--{name}")
        if len(values) == 1:
            yield f"--{name}={values[0]}"  # a value may begin with a dash
        else:
            yield from (f"--{name}", *values)


def _cell(value: str | list[str] | None) -> str:
    return " ".join(value) if isinstance(value, list) else (value or "").strip()
