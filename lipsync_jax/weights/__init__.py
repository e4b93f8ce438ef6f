"""Built-in models: networks trained by this project and shipped inside the package.

from lipsync_jax import weights
weights.names()                    # e.g. ["sync_base", "wav2lip_base"]
weights.model_card("wav2lip_base") # task, data, attribution, licence, metrics, sha256, config
weights.path("wav2lip_base")       # a folder for --checkpoint-path
weights.resolve(None, "dubbing")   # the folder of the model that is used by default
"""

import json
import os
from pathlib import Path

from lipsync_jax import paths
from lipsync_jax.types import Json

DUBBING, ANIMATION, SYNC, LIP_READING = "dubbing", "animation", "sync", "lip reading"
TASKS = (DUBBING, ANIMATION, SYNC, LIP_READING)
FOLDER = Path(__file__).parent
_CARD = "model_card.json"


def names() -> list[str]:
    """Returns the names of the built-in models, sorted."""
    return sorted(file.parent.name for file in FOLDER.glob(f"*/{_CARD}"))


def path(name: str) -> Path:
    """Returns the folder of a built-in model, which every option for a checkpoint accepts.

    Args:
        name: one of `names`.

    Raises:
        ValueError: no built-in model has that name; lists those that exist.
    """
    if name not in names():
        raise ValueError(f"no built-in model {name!r}; choose from {', '.join(names()) or 'none'}")
    return FOLDER / name


def model_card(name: str) -> dict[str, Json]:
    """Reads the model card of a built-in model.

    Args:
        name: one of `names`.

    Returns:
        JSON values: `name`, `task` (one of `TASKS`), `data`, `attribution`, `licence`, `hardware`,
        `hours`, `validation` and `metrics` (numbers), `sha256` and `bytes` by file, `config`,
        `step`.

    Raises:
        ValueError: see `path`.
    """
    return json.loads((path(name) / _CARD).read_text(encoding="utf-8"))


def default(task: str) -> str | None:
    """Returns the name of the first built-in model for a task; None without one.

    Args:
        task: one of `TASKS`.
    """
    return next((name for name in names() if model_card(name)["task"] == task), None)


def resolve(
    checkpoint: str | os.PathLike | None, task: str, option: str = "--checkpoint-path"
) -> Path:
    """Returns a given checkpoint, or else the built-in model for a task.

    Args:
        checkpoint: a folder, or an address of the Hugging Face Hub, that the user named; or None.
        task: one of `TASKS`.
        option: that names a checkpoint, for the error.

    Raises:
        FileNotFoundError: no folder was named, and there is no built-in model for the task.
        ValueError: see `paths.parse_checkpoint`.
    """
    if checkpoint is not None:
        return paths.parse_checkpoint(checkpoint, option)
    name = default(task)
    if name is None:
        raise FileNotFoundError(
            f"this installation has no built-in model for {task}: give {option} DIR, a training "
            f"run's workdir or a folder that `lipsync convert` wrote ({_how_to_get_one(task)})"
        )
    return path(name)


def _how_to_get_one(task: str) -> str:
    """Says how to get a model for a task that has no built-in one."""
    if task != ANIMATION:
        return "`lipsync demo --train` trains a small one, and the README names official weights"
    train = "`lipsync train --config=vougioukas` trains one, and the README names official weights"
    if default(DUBBING) is None:
        return train
    return f"{train}; without one, `lipsync dub --face IMAGE` moves the lips of an image"
