"""Compares a run's config.json with the config that is given when the run is resumed."""

import json
from pathlib import Path

import ml_collections
from absl import logging

from lipsync_jax import paths
from lipsync_jax.methods import fields
from lipsync_jax.types import Json

CONFIG_FILE = "config.json"
# Fields that affect logs, checkpoints and speed only, or the first step only.
_IGNORED_FIELDS = (
    "config.train.",
    "config.data.num_threads",
    "config.data.num_workers",
    "config.init_from",
)
# Fields whose values identify a run.
_FIXED_FIELDS = (
    "config.method",
    "config.seed",
    "config.precision",
    "config.batch_statistics",
    "config.gradient_sums",
    "config.frame_rate",
    "config.flow",
    "config.flow_trainable",
    "config.vocabulary",
    "config.windows_per_clip",
    "config.frames_per_clip",
    "config.frames_per_window",
    "config.frames",
    "config.num_reference_images",
    "config.length_buckets",
    "config.min_frames",
    "config.max_frames",
)
_FIXED_BLOCKS = ("config.data.", "config.model.", "config.discriminators.", "config.frozen.")
_ABSENT = "absent"


def check_config_unchanged(
    config: ml_collections.ConfigDict, workdir: Path, allow_changes: bool = False
) -> None:
    """Logs fields that differ from those a run was begun with; refuses those that identify it.

    Args:
        config: the experiment as given now.
        workdir: the run's folder.
        allow_changes: log every difference and refuse none.

    Raises:
        ValueError: seed, batch, data or model differ; names each with its old and new value.
    """
    changes = differences(workdir, config)
    if changes is None or not changes:
        return
    fixed = {name: each for name, each in changes.items() if _is_fixed(name, *each)}
    if fixed and not allow_changes:
        raise ValueError(
            f"{workdir} was begun with other values: {_describe_changes(fixed)}. Give the old "
            "values, or another --workdir, or --allow_changes to resume with the new values"
        )
    for name, each in changes.items():
        logging.info("changed since the run was begun: %s", _describe_changes({name: each}))


def differences(
    workdir: Path, config: ml_collections.ConfigDict
) -> dict[str, tuple[Json, Json]] | None:
    """Returns field name -> (value in the run's config.json, value now); None if unreadable."""
    path = workdir / CONFIG_FILE
    try:
        saved = fields.flatten(fields.with_defaults(json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        logging.warning(
            "%s can't be read (%s), so changes of the config are not checked", path, error
        )
        return None
    current = fields.flatten(json.loads(config.to_json_best_effort()))
    names = [*current, *(name for name in saved if name not in current)]
    pairs = {name: (saved.get(name, _ABSENT), current.get(name, _ABSENT)) for name in names}
    return {name: (a, b) for name, (a, b) in pairs.items() if a != b and not _same_path(name, a, b)}


def write_config(config: ml_collections.ConfigDict, workdir: Path) -> None:
    """Writes config.json atomically."""
    paths.write_text(workdir / CONFIG_FILE, config.to_json_best_effort(indent=2))


def _is_fixed(name: str, saved: Json, current: Json) -> bool:
    if saved == _ABSENT or name.startswith(_IGNORED_FIELDS):  # a new field may have any value
        return False
    is_model_field = ".model." in name or name.endswith((".width_mult", ".accumulate_steps"))
    if current == _ABSENT:
        return is_model_field or name.startswith(
            ("config.method", "config.model.", "config.frozen.")
        )
    return is_model_field or name in _FIXED_FIELDS or name.startswith(_FIXED_BLOCKS)


def _same_path(name: str, saved: Json, current: Json) -> bool:
    """Returns whether two spellings name one folder."""
    if not name.endswith((".dir", ".checkpoint")) or not (saved and current):
        return False
    return paths.same(str(saved), str(current))


def _describe_changes(changes: dict[str, tuple[Json, Json]]) -> str:
    return ", ".join(f"{name} {saved} -> {current}" for name, (saved, current) in changes.items())
