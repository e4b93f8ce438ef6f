"""What a run needs before it can start: data, and the checkpoints of its frozen networks."""

import ml_collections

from lipsync_jax.methods import fields
from lipsync_jax.types import Card


def require(config: ml_collections.ConfigDict, with_data: bool = True) -> None:
    """Refuses a config that lacks fields, data or frozen networks, all in one message.

    Args:
        config: the experiment.
        with_data: False where clips come from elsewhere.

    Raises:
        ValueError: something is missing; says which commands make it.
    """
    if lacking := fields.lacking(config.to_dict()):
        raise ValueError(
            f"the config has no {', '.join(lacking)}: make its blocks with configs/common.py, "
            "which has every field"
        )
    missing, data = [], "DATA"
    if "dir" in config.data:  # else the method draws its own examples
        data = config.data.dir or data
        if with_data and not config.data.dir:
            missing.append(
                "--config.data.dir=DATA, a folder of clips that this writes:\n    lipsync prepare "
                f"--input VIDEOS --out DATA --geometry {config.data.geometry}"
            )
    for name, network in config.frozen.items():
        if not network.checkpoint:
            run = f"runs/{network.method}"
            missing.append(
                f"--config.frozen.{name}.checkpoint={run}, a run that this trains:\n    lipsync "
                f"train --config={network.method} --workdir={run} --config.data.dir={data}"
            )
    if missing:
        raise ValueError("\n  ".join([f"{config.method} can't start yet; give also", *missing]))


def require_method(config: ml_collections.ConfigDict, name: str, card: Card) -> None:
    """Refuses a checkpoint of another method as a frozen network.

    Args:
        config: the experiment.
        name: of the network in `config.frozen`.
        card: of its checkpoint.

    Raises:
        ValueError: it is of another method; names both.
    """
    network, found = config.frozen[name], card["config"]["method"]
    if found != network.method:
        raise ValueError(
            f"config.frozen.{name}.checkpoint={network.checkpoint} holds a {found}; it must be a "
            f"{network.method}, a run of configs/{network.method}.py"
        )
