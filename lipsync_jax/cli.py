"""The `lipsync` command: parse, call, print."""

import argparse
import logging
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
    for name, (about, load) in COMMANDS.items():
        # Only the command that is run imports its code, so that --help stays quick.
        command = commands.add_parser(name, help=about, description=about)
        if name in wanted[:1]:
            module = load()
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


def _run_absl(argv: list[str]) -> int:
    """Runs main.py's twins, whose flags are absl's."""
    from lipsync_jax.training import command

    mode = [] if argv[0] == "train" else ["--mode=evaluate"]
    command.start([f"lipsync {argv[0]}", *mode, *argv[1:]])
    return 0


def _prepare():
    from lipsync_jax.data_prep import prepare

    return prepare


def _synthetic():
    from lipsync_jax.data_prep import synthetic

    return synthetic


def _convert():
    from lipsync_jax.interop import convert

    return convert


def _generate():
    from lipsync_jax.synthesis import command

    return command


def _animate():
    from lipsync_jax.synthesis import animation_command

    return animation_command


def _faces():
    from lipsync_jax.synthesis import people

    return people


def _verify():
    from lipsync_jax.synthesis import verify

    return verify


def _sync():
    from lipsync_jax.evaluation import sync_command

    return sync_command


def _evaluate():
    from lipsync_jax.evaluation import command

    return command


def _demo():
    from lipsync_jax import demo

    return demo


def _diagnose():
    from lipsync_jax.training.diagnosis import command

    return command


def _doctor():
    from lipsync_jax.doctor import command

    return command


def _delay():
    from lipsync_jax.evaluation import delay_command

    return delay_command


ABSL_COMMANDS = {
    "train": "train a model of a config, as main.py does",
    "evaluate-run": "measure a run's best checkpoint on its own data, as main.py --mode=evaluate",
}
COMMANDS = {
    "demo": ("make synthetic faces, train on them and lip-sync one, offline", _demo),
    "prepare": ("cut a folder of talking videos into training shards", _prepare),
    "synthetic": ("write a corpus of rendered talking faces", _synthetic),
    "generate": ("lip-sync a video or picture to a voice", _generate),
    "animate": ("let a picture of a face say a recording", _animate),
    "faces": ("show whose faces a video has, with the numbers `generate` knows them by", _faces),
    "verify": ("look whether a video says that it is synthetic", _verify),
    "sync": ("measure by how much a video's sound is early or late, and mend it", _sync),
    "evaluate": ("score generated videos beside the truth, and write a report", _evaluate),
    "delay": ("correlate sound and motion of prepared clips over time shifts", _delay),
    "diagnose": ("find out why the training of a sync expert does not learn", _diagnose),
    "doctor": ("check the installation, and say what to type next", _doctor),
    "convert": ("read an official checkpoint without executing it", _convert),
}


if __name__ == "__main__":
    sys.exit(main())
