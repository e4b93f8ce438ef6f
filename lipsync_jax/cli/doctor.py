"""`lipsync doctor`: checks this installation, lists what is there, says what to type next."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lipsync doctor`."""
    parser.add_argument("--root", type=Path, default=Path(), metavar="DIR",
                        help="where weights and data are looked for (default: here)")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Checks and prints; returns 0, or 1 if something does not work."""
    from lipsync_jax.diagnostics import imports
    from lipsync_jax.diagnostics.findings import Diagnosis

    root = arguments.root
    if not root.is_dir():
        raise FileNotFoundError(f"--root {root} is no folder")
    imports.quiet()
    found = [imports.system(), *imports.packages(), *imports.modules()]
    # Each check by itself: a library that fails in one leaves the others their answers.
    for check, name, inputs in (
        ("devices", "devices", ()),
        ("codecs", "codecs", ()),
        ("faces", "detector", ()),
        ("disk", "disks", (root,)),
    ):
        found.append(imports.attempt(check, "lipsync_jax.diagnostics.environment", name, *inputs))
    owned = imports.attempt("weights", "lipsync_jax.diagnostics.artifacts", "look", root)
    if isinstance(owned, imports.Finding):
        found.append(owned)
    else:
        from lipsync_jax.diagnostics import artifacts

        found += artifacts.report(owned)
    diagnosis = Diagnosis(found)
    print(diagnosis.text)
    if diagnosis.faults:
        return 1
    print(f"next: {artifacts.next_command(owned)}")
    return 0
