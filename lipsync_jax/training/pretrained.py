"""Runs that begin with another run's weights: a discriminator added later, a converted checkpoint.

`config.start_from` names a checkpoint a player. Optimisers, step and schedule start anew.
"""

from collections.abc import Mapping
from pathlib import Path

import ml_collections
from absl import logging
from jax.sharding import Mesh

from lipsync_jax.methods.base import Method, State
from lipsync_jax.training import checkpoints, sharding


def find(config: ml_collections.ConfigDict, method: Method) -> dict[str, Path]:
    """The checkpoints that a config's players begin with.

    Args:
        config: the experiment; `start_from`: player -> a run's workdir (its best
            checkpoint is taken), a converted checkpoint, or "" for none.
        method: the config's.

    Returns:
        Player -> its folder in the checkpoint.

    Raises:
        ValueError: no such player learns.
        FileNotFoundError: there is no such checkpoint, or it lacks the player.
    """
    found = {}
    for name, directory in config.start_from.items():
        if not directory:
            continue
        learning = [name for name, player in method.players.items() if player.optimiser]
        if name not in learning:
            raise ValueError(
                f"config.start_from.{name}: no player of that name learns here; choose from "
                f"{', '.join(learning)}"
            )
        found[name] = checkpoints.find_player(directory, name)
        logging.info("%s starts from %s", name, found[name].parent)
    return found


def begin(
    state: State,
    found: Mapping[str, Path],
    config: ml_collections.ConfigDict,
    mesh: Mesh,
) -> State:
    """A fresh state with what `find` found read into its players.

    Raises:
        ValueError: a checkpoint is of another network; names the first array that differs.
    """
    players = dict(state.players)
    for name, item in found.items():
        checkpoints.require_same(
            item,
            players[name].variables,
            f"start with the config.model it was made with, or without config.start_from.{name}",
        )
        variables = checkpoints.read_item(item)
        players[name] = players[name].replace(**sharding.replicate(variables, mesh))
    return state.replace(players=players)
