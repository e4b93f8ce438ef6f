"""`lipsync doctor`: checks this installation, lists what is there, says what to type next."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lipsync doctor`."""
    parser.add_argument("--root", type=Path, default=Path(), metavar="DIR",
                        help="where weights and data are looked for (default: here)")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Checks and prints; returns 0, or 1 if something does not work."""
    from lipsync_jax.doctor import belongings, installation
    from lipsync_jax.evaluation.command import quiet
    from lipsync_jax.training.diagnosis.findings import Diagnosis

    root = arguments.root
    if not root.is_dir():
        raise FileNotFoundError(f"--root {root} is no folder")
    quiet()
    owned = belongings.look(root)
    found = Diagnosis(
        [
            installation.system(),
            *installation.packages(),
            installation.devices(),
            installation.codecs(),
            installation.detector(),
            installation.disks(root),
            *belongings.report(owned),
        ]
    )
    print(found.text)
    if found.faults:
        return 1
    print(f"next: {belongings.next_command(owned)}")
    return 0
