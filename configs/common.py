"""Config blocks that experiments share, with every field that the code reads.

    config = common.experiment("wav2lip", learning=("generator",))
    config.data = common.data("face96", batch_size=16)
    config.optimiser = common.optimiser(1e-4)
    config.train = common.train(300_000, every=3000)

The meaning and the default of each field are in `lipsync_jax.methods.fields`.
"""

from collections.abc import Iterable
from typing import Any

import ml_collections

from lipsync_jax.methods import fields


def experiment(method: str, learning: Iterable[str]) -> ml_collections.ConfigDict:
    """A config without its blocks `data`, `model`, `optimiser` and `train`.

    Args:
        method: a module of lipsync_jax/methods.
        learning: its players that learn, each of which can begin with a checkpoint's weights.
    """
    config = ml_collections.ConfigDict({"method": method, "seed": 0, **fields.EXPERIMENT})
    config.frozen = ml_collections.ConfigDict()
    config.start_from = start_from(*learning)
    return config


def start_from(*players: str) -> ml_collections.ConfigDict:
    """No checkpoint for any of these players: `--config.start_from.generator=RUN` names one."""
    return ml_collections.ConfigDict(dict.fromkeys(players, ""))


def frozen(method: str, player: str, **more: Any) -> ml_collections.ConfigDict:
    """A network that does not learn.

    Args:
        method: of the run that trained it.
        player: its name there.
        **more: what one method alone reads.

    Returns:
        A block whose `checkpoint` is to be given: that run's workdir, or a converted checkpoint.
    """
    return ml_collections.ConfigDict({"checkpoint": "", "method": method, "player": player, **more})


def data(
    geometry: str,
    batch_size: int,
    validation_clips: int = 256,
    validation_batch_size: int = 8,
    **changes: Any,
) -> ml_collections.ConfigDict:
    """Where clips are read from, and how many at once.

    Args:
        geometry: of the crops, as `lipsync prepare --geometry` made them.
        batch_size: clips a step, over all devices.
        validation_clips: of each validation; 0 takes all.
        validation_batch_size: clips at once in validation.
        **changes: of `threads`, and what one method alone reads.
    """
    return ml_collections.ConfigDict(
        {
            "dir": "",  # the folder that `lipsync prepare` wrote
            "geometry": geometry,
            "batch_size": batch_size,
            "threads": 4,  # that read and decode
            "validation_clips": validation_clips,
            "validation_batch_size": validation_batch_size,
            **changes,
        }
    )


def optimiser(learning_rate: float, **changes: Any) -> ml_collections.ConfigDict:
    """Adam as `lipsync_jax.methods.base.adam` makes it.

    Raises:
        TypeError: no such field.
    """
    return _changed({"learning_rate": learning_rate, **fields.OPTIMISER}, changes)


def train(
    steps: int, every: int, log_every: int = 100, **changes: Any
) -> ml_collections.ConfigDict:
    """How long a run is and what it does on the way.

    Args:
        steps: updates in all.
        every: steps from one validation, and one checkpoint, to the next.
        log_every: steps from one line of figures to the next.
        **changes: of the fields in `lipsync_jax.methods.fields.TRAIN`.

    Raises:
        TypeError: no such field.
    """
    own = {"steps": steps, "log_every": log_every, "validate_every": every}
    return _changed({**own, "checkpoint_every": every, **fields.TRAIN}, changes)


def _changed(block: dict[str, Any], changes: dict[str, Any]) -> ml_collections.ConfigDict:
    if unknown := sorted(changes.keys() - block.keys()):
        raise TypeError(f"no field {unknown[0]!r}; there are {', '.join(block)}")
    return ml_collections.ConfigDict({**block, **changes})
