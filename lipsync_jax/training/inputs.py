"""Checks what a run needs before it can start: data, and checkpoints of its frozen networks."""

import ml_collections

from lipsync_jax import methods, paths, weights
from lipsync_jax.data import mixture
from lipsync_jax.methods import field_values, fields
from lipsync_jax.types import ModelCard


def require_inputs(config: ml_collections.ConfigDict, with_data: bool = True) -> None:
    """Refuses a config that lacks fields, data or frozen networks, all in one message.

    Args:
        config: the experiment.
        with_data: False where the data folder is not read.

    Raises:
        ValueError: a value is outside of its limits; or a field, data or a checkpoint is missing:
            says which commands make it.
    """
    require_paths(config)
    if missing_fields := fields.missing_fields(config.to_dict()):
        raise ValueError(
            f"the config has no {', '.join(missing_fields)}: make its blocks with "
            "configs/common.py, which has every field"
        )
    field_values.require_valid(config.to_dict())
    missing, data = [], "DATA"
    if "dir" in config.data:  # else the method makes its own examples
        data = config.data.dir or data
        if with_data and not config.data.dir:
            missing.append(
                "--config.data.dir=DATA, a folder of clips that this command writes:\n    "
                f"lipsync prepare --input VIDEOS --out DATA --crop {config.data.crop}"
            )
    for name, network in config.frozen.items():
        if not network.checkpoint:
            config_name = config_of_frozen(network)
            run = f"runs/{config_name}"
            missing.append(
                f"--config.frozen.{name}.checkpoint={run}, a run that this command trains:\n    "
                f"lipsync train --config={config_name} --workdir={run} --config.data.dir={data}"
                + _built_in(network)
            )
    if missing:
        raise ValueError("\n  ".join([f"{config.method} can't start yet; add", *missing]))


def _built_in(block: ml_collections.ConfigDict) -> str:
    """Returns a line with the built-in model that fits a block of `config.frozen`, if any."""
    for name in weights.names():
        card = weights.model_card(name)
        if card["config"]["method"] == block.method and f"{block.network}.npz" in card["sha256"]:
            return f"\n    or {weights.path(name)}, the built-in model {name}"
    return ""


def config_of_frozen(block: ml_collections.ConfigDict) -> str:
    """Returns the name of the config that trains the network of a block of `config.frozen`."""
    return block.config if "config" in block else block.method


def require_paths(config: ml_collections.ConfigDict) -> None:
    """Refuses paths that can't be read at all, before anything is read.

    Args:
        config: the experiment.

    Raises:
        ValueError: a path has an unknown scheme, or is of a bucket that can't be reached; names the
            option.
    """
    for name, value in fields.flatten(config.to_dict()).items():
        if not isinstance(value, str):
            continue
        if name.endswith(".checkpoint") or name.startswith("config.init_from."):
            given = [paths.parse_checkpoint(value, f"--{name}")]
        elif name.endswith(".dir"):
            given = [paths.parse(value, f"--{name}")]
        elif name == "config.data.dirs":
            given = [paths.parse(part.dir, f"--{name}") for part in mixture.parse(value)]
        else:
            continue
        for path in given:
            paths.require_access(path, f"--{name}")


def require_method(config: ml_collections.ConfigDict, name: str, model_card: ModelCard) -> None:
    """Refuses a checkpoint of another method as a frozen network, unless it fits in its place.

    Methods fit whose inference is of the class in the `frozen_inference` of the config's method.

    Args:
        config: the experiment.
        name: of the network in `config.frozen`.
        model_card: of its checkpoint.

    Raises:
        ValueError: the checkpoint is of another method; names both.
    """
    network, found_method = config.frozen[name], model_card["config"]["method"]
    kind = methods.load(config).frozen_inference.get(name)
    if kind is not None and methods.has_inference(found_method, kind):
        return
    if found_method != network.method:
        raise ValueError(
            f"config.frozen.{name}.checkpoint={network.checkpoint} holds a {found_method}; it must "
            f"be a {network.method}, a run of configs/{network.method}.py"
        )
