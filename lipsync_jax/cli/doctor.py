"""`lipsync doctor`: checks the installation, lists files, suggests the next command."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `lipsync doctor`."""
    parser.add_argument("--dir", type=Path, default=Path(),
                        help="folder with checkpoints and data (default: here)")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Runs the checks and prints them; returns 0, or 1 if a check fails."""
    from lipsync_jax.diagnostics import imports
    from lipsync_jax.diagnostics.findings import Diagnosis

    root = arguments.dir
    if not root.is_dir():
        raise FileNotFoundError(f"--dir {root} is no folder; give an existing folder")
    imports.silence_libraries()
    found = [imports.system(), *imports.packages(), *imports.modules()]
    # Each check runs alone: a library that fails in one does not affect the others.
    for check, name, inputs in (
        ("devices", "devices", ()),
        ("codecs", "codecs", ()),
        ("faces", "detector", ()),
        ("disk", "disks", (root,)),
    ):
        found.append(imports.run_check(check, "lipsync_jax.diagnostics.environment", name, *inputs))
    owned = imports.run_check("weights", "lipsync_jax.diagnostics.artifacts", "scan", root)
    if isinstance(owned, imports.Finding):
        found.append(owned)
    else:
        from lipsync_jax.diagnostics import artifacts

        found += artifacts.inventory_findings(owned)
    diagnosis = Diagnosis(found)
    print(diagnosis.text)
    if diagnosis.faults:
        return 1
    print(f"next: {artifacts.next_command(owned)}")
    return 0
