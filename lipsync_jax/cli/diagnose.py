"""`lipsync diagnose`: finds out why a sync expert does not converge."""

import argparse
import json
from pathlib import Path

from lipsync_jax import paths
from lipsync_jax.progress import ProgressBar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync diagnose`."""
    parser.add_argument("--config", required=True, metavar="CONFIG[:VARIANT]",
                        help="a file or a name, e.g. sync_expert:tiny; single values are set as in "
                        "training: --config.data.dir=DATA")  # fmt: skip
    parser.add_argument("--workdir", type=Path, metavar="DIR",
                        help="a run: its metrics and checkpoints are checked too, and "
                        "diagnosis.json is written there")  # fmt: skip
    parser.set_defaults(takes_overrides=True)


def run(arguments: argparse.Namespace) -> int:
    """Diagnoses and prints; returns 0, or 1 if a fault was found."""
    from lipsync_jax.cli import _config_files
    from lipsync_jax.cli._terminal import quiet
    from lipsync_jax.diagnostics.sync_expert import diagnose

    config = _config_files.read(arguments.config, arguments.overrides)
    quiet()
    if arguments.workdir is not None:
        arguments.workdir.mkdir(parents=True, exist_ok=True)
    with ProgressBar("diagnose"):
        found = diagnose.diagnose(config, arguments.workdir)
    print(found.text)
    if arguments.workdir is not None:
        out = arguments.workdir / "diagnosis.json"
        paths.write_text(out, json.dumps(found.as_json(), indent=2) + "\n")
        print(f"measurements in {out}")
    return 1 if found.faults else 0
