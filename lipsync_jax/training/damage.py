"""Digests of checkpoints, and what a run does when its newest ones are damaged.

A digest of every file is written before a checkpoint gets its name. On resuming, checkpoints are
compared with theirs from the newest on; those that differ go to `damaged/` in the run's folder.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from absl import logging

NAME = "digests.json"
_UNFINISHED = "*.orbax-checkpoint-tmp*"


def write_digests(folder: Path) -> None:
    """Writes `digests.json` into a checkpoint: its items' files' SHA-256, by their paths."""
    text = json.dumps(_digests(folder), indent=0, sort_keys=True)
    partial = folder / f".{NAME}.partial"
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, folder / NAME)


def write_missing_digests(directory: Path) -> None:
    """The same for every checkpoint of a folder that has none yet, one being written too."""
    for folder in [*directory.glob(_UNFINISHED), *steps_of(directory)]:
        if not (folder / NAME).exists():
            write_digests(folder)


def fault(folder: Path, items: Sequence[str] = (), strict: bool = True) -> str | None:
    """What is wrong with a checkpoint; None when nothing is.

    Args:
        folder: the checkpoint.
        items: folders that it must have.
        strict: False accepts one without digests, which older versions wrote.
    """
    present = {p.name for p in folder.iterdir()}
    if not present:
        return "it is empty"
    if lost := [name for name in items if name not in present]:
        return f"it has no {lost[0]}"
    if NAME not in present:
        return f"it has no {NAME}" if strict else _fault_of_run(folder)
    try:
        wanted = json.loads((folder / NAME).read_text(encoding="utf-8"))
        found = _digests(folder)
        if not isinstance(wanted, dict):
            raise ValueError(f"{NAME} holds no digests")
    except (OSError, ValueError) as error:
        return f"it can't be read: {error}"
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if name not in wanted:
            return f"{name} was not there when it was saved"
        if wanted[name] != found[name]:
            return f"{name} is not what was saved"
    return None


def set_aside(workdir: Path, items: Sequence[str], gap: int) -> None:
    """Leaves a run's newest undamaged checkpoint its newest, and removes unfinished ones.

    Args:
        workdir: the run's folder, which no other process writes to.
        items: folders that a checkpoint must have.
        gap: steps between checkpoints. A best checkpoint may be ahead of the newest one by these.

    Raises:
        ValueError: all checkpoints are damaged, or the best one is of a later step than the run.
    """
    for directory in (workdir / "checkpoints", workdir / "best"):
        for folder in directory.glob(_UNFINISHED):  # of a run that was killed
            shutil.rmtree(folder, ignore_errors=True)
    steps = steps_of(workdir / "checkpoints")
    strict = any((folder / NAME).exists() for folder in steps)
    faults = {}
    while steps and (why := fault(steps[-1], items, strict)) is not None:
        faults[steps.pop()] = why
    told = "; ".join(f"{folder.name}: {why}" for folder, why in faults.items())
    if faults and not steps:
        raise ValueError(
            f"every checkpoint in {workdir / 'checkpoints'} is damaged ({told}): copy the folder "
            "again from where it came, or start anew in another --workdir"
        )
    step = int(steps[-1].name) if steps else 0
    for folder, why in faults.items():
        logging.warning("checkpoint %s is damaged (%s), going on from %d", folder.name, why, step)
        move(folder, workdir)
    for best in steps_of(workdir / "best"):
        if int(best.name) <= step:
            continue
        if not faults and int(best.name) - step > gap:
            raise ValueError(
                f"{best} is newer than the run, which stands at step {step}: put the checkpoints "
                f"back that belong to it, move {best.parent} elsewhere, or take another --workdir"
            )
        kept = move(best, workdir)
        logging.warning(
            "%s is ahead of step %d and will be made anew; it is now %s", best, step, kept
        )


def steps_of(directory: Path) -> list[Path]:
    """A folder's checkpoints, oldest first."""
    folders = directory.iterdir() if directory.is_dir() else ()
    return sorted(
        (p for p in folders if p.name.isdigit() and p.is_dir()), key=lambda p: int(p.name)
    )


def move(folder: Path, workdir: Path) -> Path:
    """Puts a checkpoint into `damaged/`, in place of one of its name; returns where it is."""
    into = workdir / "damaged"
    into.mkdir(exist_ok=True)
    kept = into / f"{folder.parent.name}-{folder.name}"
    if kept.exists():
        shutil.rmtree(kept)
    folder.rename(kept)
    return kept


def _digests(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.glob("*/**/*")):  # beside the items lie times alone, written later
        name = path.relative_to(folder).as_posix()
        if path.is_file():
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _fault_of_run(folder: Path) -> str | None:
    """Of the host's values, for a checkpoint without digests."""
    try:
        run = json.loads((folder / "run" / "metadata").read_text(encoding="utf-8"))
        lost = [name for name in ("loader", "best") if name not in run]
    except (OSError, ValueError, TypeError) as error:
        return f"run can't be read: {error}"
    return f"its run has no {lost[0]}" if lost else None
