"""The `lipsync` command: parse, call, print."""

import argparse
import importlib
import logging
import os
import sys

from lipsync_jax.text import printable_lines


def main(argv: list[str] | None = None) -> int:
    """Runs one subcommand.

    Args:
        argv: arguments without the program's name; the process's own when None.

    Returns:
        The exit status: 0 done, 1 something the user can mend, 130 interrupted.
    """
    wanted = sys.argv[1:] if argv is None else argv
    if wanted[:1] in (["train"], ["evaluate-run"]):
        return _run_absl(wanted)
    parser = argparse.ArgumentParser(
        prog="lipsync", description="Speech-driven faces: prepare, train, generate."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, about in ABSL_COMMANDS.items():
        commands.add_parser(name, help=about)
    for name, (about, place) in COMMANDS.items():
        # Only the command that is run imports its code, so that --help stays quick.
        command = commands.add_parser(name, help=about, description=about)
        if name in wanted[:1]:
            module = importlib.import_module(place)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    arguments, rest = parser.parse_known_args(argv)
    if getattr(arguments, "takes_overrides", False):  # --config.key=value, any key
        arguments.overrides = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    logging.getLogger("absl").setLevel(logging.WARNING)  # libraries' notices; training raises it
    try:
        return arguments.run(arguments)
    except (ValueError, OSError, FloatingPointError, MemoryError) as error:
        logging.debug("where it came from", exc_info=error)
        print(f"lipsync {arguments.command}: {printable_lines(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(f"lipsync {arguments.command}: {stop or 'interrupted'}", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("LIPSYNC_TRACEBACK"):
            raise
        kind, said = type(error).__name__, printable_lines(error)
        print(
            f"lipsync {arguments.command}: {kind}: {said}\nThis is a fault of the program: please "
            "report it with what LIPSYNC_TRACEBACK=1 adds.",
            file=sys.stderr,
        )
        return 1


def _run_absl(argv: list[str]) -> int:
    """Runs main.py's twins, whose flags are absl's."""
    from lipsync_jax.cli import train

    mode = [] if argv[0] == "train" else ["--mode=evaluate"]
    train.start([f"lipsync {argv[0]}", *mode, *argv[1:]])
    return 0


ABSL_COMMANDS = {
    "train": "train a model of a config, as main.py does",
    "evaluate-run": "measure a run's best checkpoint on its own data, as main.py --mode=evaluate",
}
# Name -> what it does, and the module with its `add_arguments` and `run`.
COMMANDS = {
    "demo": (
        "make synthetic faces, train on them and lip-sync one, offline",
        "lipsync_jax.cli.demo",
    ),
    "prepare": (
        "cut a folder of talking videos into training shards",
        "lipsync_jax.data_prep.prepare",
    ),
    "synthetic": (
        "write a corpus of rendered talking faces",
        "lipsync_jax.data_prep.synthetic.corpus",
    ),
    "generate": ("lip-sync a video or picture to a voice", "lipsync_jax.cli.generate"),
    "animate": ("let a picture of a face say a recording", "lipsync_jax.cli.animate"),
    "faces": (
        "show whose faces a video has, with the numbers `generate` knows them by",
        "lipsync_jax.cli.faces",
    ),
    "verify": ("look whether a video says that it is synthetic", "lipsync_jax.cli.verify"),
    "sync": (
        "measure by how much a video's sound is early or late, and mend it",
        "lipsync_jax.cli.sync",
    ),
    "evaluate": (
        "score generated videos beside the truth, and write a report",
        "lipsync_jax.cli.evaluate",
    ),
    "delay": (
        "correlate sound and motion of prepared clips over time shifts",
        "lipsync_jax.cli.av_correlation",
    ),
    "diagnose": (
        "find out why the training of a sync expert does not learn",
        "lipsync_jax.cli.diagnose",
    ),
    "doctor": ("check the installation, and say what to type next", "lipsync_jax.cli.doctor"),
    "convert": ("read an official checkpoint without executing it", "lipsync_jax.interop.convert"),
}
