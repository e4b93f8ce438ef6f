"""`lipsync diagnose`: says why a sync expert does not learn, or that nothing is wrong."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lipsync diagnose`."""
    parser.add_argument("--config", required=True, metavar="FILE[:VARIANT]",
                        help="configs/sync_expert.py, with a variant; single values are set as in "
                        "training: --config.data.dir=DATA")  # fmt: skip
    parser.add_argument("--workdir", type=Path, metavar="DIR",
                        help="a run: its figures and checkpoints are looked at too, and "
                        "diagnosis.json is written there")  # fmt: skip
    parser.set_defaults(takes_overrides=True)


def run(arguments: argparse.Namespace) -> int:
    """Diagnoses and prints; returns 0, or 1 if a fault was found."""
    from lipsync_jax.evaluation.command import quiet
    from lipsync_jax.training.diagnosis import diagnose

    config = read_config(arguments.config, arguments.overrides)
    quiet()
    found = diagnose.diagnose(config, arguments.workdir)
    print(found.text)
    if arguments.workdir is not None:
        arguments.workdir.mkdir(parents=True, exist_ok=True)
        out = arguments.workdir / "diagnosis.json"
        out.write_text(json.dumps(found.as_json(), indent=2) + "\n", encoding="utf-8")
        print(f"figures in {out}")
    return 1 if found.faults else 0


def read_config(path: str, overrides: Sequence[str]):
    """A config as main.py reads it.

    Args:
        path: a file, with `:variant` if one is wanted.
        overrides: arguments of the form `--config.key=value`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such variant or key, or a value of the wrong type.
    """
    from absl import flags
    from ml_collections import config_flags

    file = Path(path.partition(":")[0])
    if not file.is_file():
        raise FileNotFoundError(f"config file {file} does not exist (from {Path.cwd()})")
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", flag_values=values)
    line = ["lipsync", f"--config={path}", *overrides]
    before, sys.argv = sys.argv, line  # where config_flags looks for overrides
    try:
        rest = values(line)
        config = holder.value
    except (flags.Error, AttributeError, KeyError, TypeError, OSError) as error:
        # absl quotes a whole traceback; its last line is the sentence.
        said = str(error.args[0]).strip().splitlines()[-1].removeprefix("ValueError: ")
        raise ValueError(f"{' '.join(line[1:])}: {said}") from error
    finally:
        sys.argv = before
    if rest[1:]:
        raise ValueError(f"unexpected argument {rest[1]!r}")
    return config
