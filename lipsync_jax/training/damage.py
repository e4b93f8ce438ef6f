"""Digests of checkpoints, and the quarantine of damaged ones when a run is resumed.

A digest of every file is written when a checkpoint is complete. On resuming, checkpoints are
compared with their digests from the newest on; those that differ are moved to `damaged/` in the
run's folder.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import logging

from lipsync_jax import paths

DIGESTS_FILE = "digests.json"
_UNFINISHED = "*.orbax-checkpoint-tmp*"
_CRC = "crc32c:"
_COMMITTED = "commit_success.txt"  # Orbax writes it last, in buckets, which rename no folder


def write_digests(folder: Path) -> None:
    """Writes `digests.json` into a checkpoint: SHA-256, or a bucket's CRC, of its items' files."""
    text = json.dumps(_digests(folder), indent=0, sort_keys=True)
    paths.write_text(folder / DIGESTS_FILE, text)


def write_missing_digests(directory: Path) -> None:
    """Writes digests for every checkpoint of a folder that has none, finished or unfinished."""
    for folder in [*directory.glob(_UNFINISHED), *steps_of(directory)]:
        if not (folder / DIGESTS_FILE).exists():
            write_digests(folder)


def find_damage(folder: Path, items: Sequence[str] = (), strict: bool = True) -> str | None:
    """Returns what is wrong with a checkpoint; None if nothing is.

    Args:
        folder: the checkpoint.
        items: folders that the checkpoint must have.
        strict: False accepts a checkpoint without digests.
    """
    present = {p.name for p in folder.iterdir()}
    if not present:
        return "it is empty"
    if missing := [name for name in items if name not in present]:
        return f"it has no {missing[0]}"
    if DIGESTS_FILE not in present:
        return f"it has no {DIGESTS_FILE}" if strict else _find_run_damage(folder)
    try:
        expected = json.loads((folder / DIGESTS_FILE).read_text(encoding="utf-8"))
        found = _digests(folder, expected)
        if not isinstance(expected, dict):
            raise ValueError(f"{DIGESTS_FILE} holds no digests")
    except (OSError, ValueError) as error:
        return f"it can't be read: {error}"
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if name not in expected:
            return f"{name} was not there when it was saved"
        if expected[name] != found[name]:
            return f"{name} is not what was saved"
    return None


def quarantine_damaged(workdir: Path, items: Sequence[str], max_step_gap: int) -> None:
    """Moves damaged checkpoints newer than the newest sound one away, and removes unfinished ones.

    Args:
        workdir: the run's folder, which no other process writes to.
        items: folders that a checkpoint must have.
        max_step_gap: steps between checkpoints; a best checkpoint may be ahead of the newest
            checkpoint by as many steps.

    Raises:
        ValueError: all checkpoints are damaged, or the best one is of a later step than the run.
    """
    for directory in (workdir / "checkpoints", workdir / "best"):
        for folder in _unfinished(directory):  # of a run that was killed
            paths.remove_tree(folder, ignore_errors=True)
    steps = steps_of(workdir / "checkpoints")
    strict = any((folder / DIGESTS_FILE).exists() for folder in steps)
    faults = {}
    while steps and (reason := find_damage(steps[-1], items, strict)) is not None:
        faults[steps.pop()] = reason
    reasons = "; ".join(f"{folder.name}: {why}" for folder, why in faults.items())
    if faults and not steps:
        raise ValueError(
            f"every checkpoint in {workdir / 'checkpoints'} is damaged ({reasons}): copy the "
            "folder again from where it came, or start again in another --workdir"
        )
    step = int(steps[-1].name) if steps else 0
    for folder, reason in faults.items():
        logging.warning(
            "checkpoint %s is damaged (%s), resuming from step %d", folder.name, reason, step
        )
        quarantine(folder, workdir)
    for best in steps_of(workdir / "best"):
        if int(best.name) <= step:
            continue
        if not faults and int(best.name) - step > max_step_gap:
            raise ValueError(
                f"{best} is newer than the run, whose last checkpoint is of step {step}: restore "
                f"the missing checkpoints, move {best.parent} elsewhere, or name another --workdir"
            )
        moved_to = quarantine(best, workdir)
        logging.warning(
            "%s is ahead of step %d and will be written again; it was moved to %s",
            best,
            step,
            moved_to,
        )


def steps_of(directory: Path) -> list[Path]:
    """Returns a folder's checkpoints, the oldest first."""
    folders = directory.iterdir() if directory.is_dir() else ()
    return sorted(
        (p for p in folders if p.name.isdigit() and p.is_dir()), key=lambda p: int(p.name)
    )


def quarantine(folder: Path, workdir: Path) -> Path:
    """Moves a checkpoint to `damaged/`, replacing one of that name; returns the new path."""
    damaged = workdir / "damaged"
    damaged.mkdir(exist_ok=True)
    target = damaged / f"{folder.parent.name}-{folder.name}"
    paths.move_folder(folder, target)
    return target


def _unfinished(directory: Path) -> list[Path]:
    if paths.is_bucket(directory):
        return [p for p in steps_of(directory) if not (p / _COMMITTED).exists()]
    return [*directory.glob(_UNFINISHED)]


def _digests(folder: Path, expected: Mapping[str, str] | None = None) -> dict[str, str]:
    """Computes the digests of a checkpoint.

    Google Cloud has a CRC of each object, so that nothing is read again to be saved. The CRCs of a
    checkpoint that was copied to a disk are not computed there: they are those `expected`.
    """
    in_cloud = paths.checksums(folder) if paths.bucket_scheme(folder) == "gs" else {}
    found = {}
    for name in in_cloud or paths.files(folder):
        if "/" not in name or name.endswith(_COMMITTED):  # only times, written later
            continue
        before = str((expected or {}).get(name, ""))
        if in_cloud and (expected is None or before.startswith(_CRC)):
            found[name] = _CRC + in_cloud[name]
        elif before.startswith(_CRC):
            found[name] = before
        else:
            found[name] = paths.sha256(folder / name)
    return found


def _find_run_damage(folder: Path) -> str | None:
    """Returns what is wrong with the host's values of a checkpoint without digests."""
    try:
        run = json.loads((folder / "run" / "metadata").read_text(encoding="utf-8"))
        missing = [name for name in ("loader", "best") if name not in run]
    except (OSError, ValueError, TypeError) as error:
        return f"run can't be read: {error}"
    return f"its run has no {missing[0]}" if missing else None
