"""What may differ when a run goes on: its config.json against the config that is given now."""

import json
from pathlib import Path

import ml_collections
from absl import logging

from lipsync_jax.methods import fields
from lipsync_jax.types import Json

NAME = "config.json"
# They steer logs, checkpoints and speed alone, or were used up at the first step.
_FREE = ("config.train.", "config.data.threads", "config.start_from")
# With other values of these the run would be another one.
_BOUND = (
    "config.method",
    "config.seed",
    "config.precision",
    "config.frame_rate",
    "config.data.",
    "config.model.",
    "config.discriminator.",
    "config.frozen.",
    "config.vocabulary",
    "config.windows_per_clip",
    "config.frames_per_clip",
    "config.frames",
    "config.stills",
    "config.lengths",
    "config.shortest",
    "config.longest",
)
_ABSENT = "absent"


def check(config: ml_collections.ConfigDict, workdir: Path, allow_changes: bool = False) -> None:
    """Says what differs from the values a run was begun with.

    Args:
        config: the experiment as given now.
        workdir: the run's folder.
        allow_changes: say it only, also of what makes it another run.

    Raises:
        ValueError: seed, batch, data or model differ; names each, its old and new value.
    """
    changes = differences(workdir, config)
    if changes is None or not changes:
        return
    bound = {name: each for name, each in changes.items() if _is_bound(name, *each)}
    if bound and not allow_changes:
        raise ValueError(
            f"{workdir} was begun with other values: {_told(bound)}. Give the old ones, or another "
            "--workdir, or --allow_changes to go on with the new ones all the same"
        )
    for name, each in changes.items():
        logging.info("changed since the run was begun: %s", _told({name: each}))


def differences(
    workdir: Path, config: ml_collections.ConfigDict
) -> dict[str, tuple[Json, Json]] | None:
    """Full name -> (value in the run's config.json, value now); None where that can't be read."""
    path = workdir / NAME
    try:
        before = fields.flat(fields.complete(json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        logging.warning("%s can't be read (%s): what has changed since is unknown", path, error)
        return None
    now = fields.flat(json.loads(config.to_json_best_effort()))
    names = [*now, *(name for name in before if name not in now)]
    pairs = {name: (before.get(name, _ABSENT), now.get(name, _ABSENT)) for name in names}
    return {name: (a, b) for name, (a, b) in pairs.items() if a != b and not _same_path(name, a, b)}


def record(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """Writes config.json, whole or not at all."""
    partial = workdir / f".{NAME}.partial"
    partial.write_text(config.to_json_best_effort(indent=2), encoding="utf-8")
    partial.replace(workdir / NAME)


def _is_bound(name: str, before: Json, now: Json) -> bool:
    if before == _ABSENT or name.startswith(_FREE):  # a field that is new may have any value
        return False
    inner = ".model." in name or name.endswith(".width")
    if now == _ABSENT:
        return inner or name.startswith(("config.method", "config.model.", "config.frozen."))
    return inner or name.startswith(_BOUND)


def _same_path(name: str, before: Json, now: Json) -> bool:
    """Whether two spellings name one folder."""
    if not name.endswith((".dir", ".checkpoint")) or not (before and now):
        return False
    return Path(str(before)).resolve() == Path(str(now)).resolve()


def _told(changes: dict[str, tuple[Json, Json]]) -> str:
    return ", ".join(f"{name} {before} -> {now}" for name, (before, now) in changes.items())
