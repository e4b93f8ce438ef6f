"""The `lipsync` command: parses the command line, calls the library, prints the result."""

import argparse
import functools
import importlib
import logging
import os
import sys
from collections.abc import Callable, Collection

from lipsync_jax import progress
from lipsync_jax.cli import _interrupts, _json_output, _staging, _streams
from lipsync_jax.cli._parser import COMMANDS_OF_0_1, OPTIONS_OF_0_1, Parser, UsageError
from lipsync_jax.cli._terminal import (
    PROGRESS_COMMANDS,
    TRACEBACK_VARIABLE,
    add_progress,
    describe_unexpected,
    spelled,
)
from lipsync_jax.text import naming_options, printable_lines


def main(argv: list[str] | None = None) -> int:
    """Runs one subcommand.

    Args:
        argv: arguments without the program's name; the process's own when None.

    Returns:
        The exit status: 0 success, 1 an error, 130 interrupted.
    """
    _streams.prepare()
    try:
        return _main(argv)
    except KeyboardInterrupt:  # while options are declared, which imports much
        print("lipsync: interrupted", file=sys.stderr)
        return 130


def _main(argv: list[str] | None) -> int:
    line = [*(sys.argv[1:] if argv is None else argv)]
    if line:
        name = line[0] if line[0].startswith("-") else line[0].replace("_", "-")
        line[0] = COMMANDS_OF_0_1.get(name, name)
    if line[:1] and line[0] in ABSL_COMMANDS:
        return _run_absl(line)
    parser = build_parser(line[:1])
    try:
        arguments, rest = parser.parse_known_args(line)
        if getattr(arguments, "takes_overrides", False):  # --config.key=value, any key
            arguments.overrides = rest
        elif rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
    except UsageError as error:
        _json_output.write_usage_error(line, error.message)
        raise
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    # Not before absl makes its logger, whose records name the module that logs.
    from absl import logging as absl_logging

    absl_logging.get_absl_logger().setLevel(logging.WARNING)  # libraries' notices; training's show
    progress.set_mode(vars(arguments).pop("progress", "auto"))
    output = _json_output.of(arguments)
    try:
        with output:
            status = _run(arguments, output)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `lipsync models | head` closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 141  # as a shell reports SIGPIPE
    except OSError as error:  # of the file of --json
        print(f"lipsync {arguments.command}: --json: {printable_lines(error)}", file=sys.stderr)
        return 1


def build_parser(commands: Collection[str]) -> Parser:
    """Returns the parser of the command line.

    Args:
        commands: names of the commands whose options are added. Only these import their code, so
            that --help stays quick.
    """
    parser = Parser(prog="lipsync", description="Speech-driven faces: prepare, train, generate.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help_text in ABSL_COMMANDS.items():
        subparsers.add_parser(name, help=help_text)
    for name, (help_text, module_name) in COMMANDS.items():
        command = subparsers.add_parser(
            name, help=help_text, description=help_text, renamed=OPTIONS_OF_0_1.get(name, {})
        )
        if name in commands:
            module = importlib.import_module(module_name)
            module.add_arguments(command)
            if name in _json_output.COMMANDS:
                _json_output.add_argument(command)
            if name in PROGRESS_COMMANDS:
                add_progress(command)
            command.set_defaults(run=_naming_options(command, module.run))
    return parser


def _naming_options(
    parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]
) -> Callable[[argparse.Namespace], int]:
    """Returns `run`, whose errors about a file name the option that the file was given by."""
    names = [action.dest for action in parser._actions if action.option_strings]

    @functools.wraps(run)
    def named(arguments: argparse.Namespace) -> int:
        files = {name: getattr(arguments, name, None) for name in names}
        with naming_options({name: value for name, value in files.items() if _is_file(value)}):
            return run(arguments)

    return named


def _is_file(value: object) -> bool:
    """Returns whether a value is a path, or several."""
    if isinstance(value, list | tuple):
        return any(map(_is_file, value))
    return isinstance(value, os.PathLike)


def _run(arguments: argparse.Namespace, output: _json_output.JsonOutput) -> int:
    """Runs a command; tells errors on the standard error and in the JSON document."""

    def fail(status: int, error: object) -> int:
        message = spelled(error, arguments)
        print(f"lipsync {arguments.command}: {printable_lines(message)}", file=sys.stderr)
        output.update(error=message)
        return status

    try:
        output.require_writable()
        with _interrupts.kept(), _staging.staged(arguments) as local:
            return local.run(local)
    except BrokenPipeError:
        raise
    except (ValueError, OSError, FloatingPointError, MemoryError) as error:
        logging.debug("raised here", exc_info=error)
        return fail(1, error)
    except KeyboardInterrupt as stop:
        return fail(130, str(stop) or "interrupted")
    except SystemExit as stop:  # by SIGTERM, see `_batch.run_command`
        output.update(error=f"stopped with exit status {stop.code}")
        raise
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            output.update(error=f"{type(error).__name__}: {error}")
            raise
        return fail(1, describe_unexpected(error))


def _run_absl(line: list[str]) -> int:
    """Runs what main.py runs; the flags of these commands are absl's."""
    from lipsync_jax.cli import train

    mode = {"evaluate-run": ["--mode=evaluate"], "compile": ["--mode=compile"]}.get(line[0], [])
    train.start([f"lipsync {line[0]}", *mode, *line[1:]])
    return 0


ABSL_COMMANDS = {
    "train": "train a network of a config, as main.py does",
    "evaluate-run": "compute the validation metrics of a run's best checkpoint, as main.py "
    "--mode=evaluate",
    "compile": "compile a train step for accelerators that this machine lacks, as main.py "
    "--mode=compile",
}
# Name -> help, and the module with its `add_arguments` and `run`.
COMMANDS = {
    "demo": (
        "dub a rendered face with the built-in model, offline; --train: train one first",
        "lipsync_jax.cli.demo",
    ),
    "prepare": (
        "cut a folder of talking videos into training shards",
        "lipsync_jax.data_prep.prepare",
    ),
    "data": (
        "write statistics of training shards as an HTML page",
        "lipsync_jax.cli.data",
    ),
    "synthetic": (
        "write a corpus of rendered talking faces",
        "lipsync_jax.data_prep.synthetic.corpus",
    ),
    "dub": ("lip-sync a video or an image of a face to driving audio", "lipsync_jax.cli.dub"),
    "animate": ("animate an image of a face by driving audio", "lipsync_jax.cli.animate"),
    "web": (
        "serve a page for dubbing, animation and sync on this machine",
        "lipsync_jax.web.command",
    ),
    "live": (
        "serve a page with a face that speaks while a microphone, a file or a program does",
        "lipsync_jax.cli.live",
    ),
    "personalize": (
        "train the built-in dubbing model further on a video of one person",
        "lipsync_jax.cli.personalize",
    ),
    "list-faces": (
        "list the identities in a video, with the numbers that `dub --face-id` takes",
        "lipsync_jax.cli.list_faces",
    ),
    "verify": ("check whether a video is tagged as synthetic", "lipsync_jax.cli.verify"),
    "sync": (
        "measure the audio offset of a video, and remove the offset",
        "lipsync_jax.cli.sync",
    ),
    "evaluate": (
        "compute metrics of generated videos against references, and write a report",
        "lipsync_jax.cli.evaluate",
    ),
    "av-correlation": (
        "correlate audio and motion of prepared clips over time shifts",
        "lipsync_jax.cli.av_correlation",
    ),
    "diagnose": (
        "find out why the training of a sync expert does not converge",
        "lipsync_jax.cli.diagnose",
    ),
    "models": (
        "list the models that are built in, converted and trained, with licences and metrics",
        "lipsync_jax.cli.models",
    ),
    "doctor": ("check the installation, and suggest the next command", "lipsync_jax.cli.doctor"),
    "convert": (
        "convert an official checkpoint without executing it",
        "lipsync_jax.interop.convert",
    ),
    "export": (
        "write a network as ONNX or StableHLO, to run without this package",
        "lipsync_jax.cli.export",
    ),
}
