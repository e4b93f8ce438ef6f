"""Initializes networks from another checkpoint: a run's, or a converted one.

`config.init_from` names a checkpoint for each network. Optimizers, step and host scalars start
from their initial values.
"""

from collections.abc import Mapping
from pathlib import Path

import ml_collections
from absl import logging
from jax.sharding import Mesh

from lipsync_jax.methods.base import Method, State
from lipsync_jax.training import checkpoints, sharding


def resolve_pretrained(config: ml_collections.ConfigDict, method: Method) -> dict[str, Path]:
    """Returns the checkpoints that a config's networks are initialized from.

    Args:
        config: the experiment; `init_from`: network name -> a run's workdir (its best checkpoint
            is read), a converted checkpoint, or "" for none.
        method: the config's method.

    Returns:
        Network name -> its folder in the checkpoint.

    Raises:
        ValueError: no network of that name is trained.
        FileNotFoundError: there is no such checkpoint, or it lacks the network.
    """
    found = {}
    for name, directory in config.init_from.items():
        if not directory:
            continue
        if name not in method.trainable:
            raise ValueError(
                f"config.init_from.{name}: no network of that name is trained here; choose from "
                f"{', '.join(method.trainable)}"
            )
        found[name] = checkpoints.find_network(directory, name)
        logging.info("%s is initialized from %s", name, found[name].parent)
    return found


def init_from_pretrained(
    state: State,
    items: Mapping[str, Path],
    config: ml_collections.ConfigDict,
    mesh: Mesh,
) -> State:
    """Replaces the weights of some networks by those of checkpoints.

    Args:
        state: a new training state.
        items: from `resolve_pretrained`.
        config: the experiment.
        mesh: the devices of the state.

    Raises:
        ValueError: a checkpoint is of another network; names the first array that differs.
    """
    networks = dict(state.networks)
    for name, item in items.items():
        checkpoints.check_compatible(
            item,
            networks[name].variables,
            f"give the config.model that it was trained with, or no config.init_from.{name}",
        )
        variables = checkpoints.read_item(item)
        networks[name] = networks[name].replace(**sharding.replicate(variables, mesh))
    return state.replace(networks=networks)
