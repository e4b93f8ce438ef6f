"""Orbax checkpoints: one item a player, so that inference reads just the network it runs.

A run's folder holds

    checkpoints/<step>/  <player>..., train (optimisers, step, key, schedule), run (loader position)
    best/<step>/         <player>..., card (config, validation figures)

and `lipsync convert` writes a single folder shaped like one of best/'s. Reading those for inference
is in `inference`, whose functions are found here too.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from lipsync_jax.methods.base import PlayerState, State
from lipsync_jax.training import arrays
from lipsync_jax.training.inference import (
    OTHER_SHAPES,
    Check,
    CheckpointError,
    find,
    find_player,
    fitting,
    load_inference,
    load_players,
    read_card,
    read_item,
)

__all__ = [
    "OTHER_SHAPES",
    "Check",
    "CheckpointError",
    "Checkpoints",
    "find",
    "find_player",
    "fitting",
    "load_inference",
    "load_players",
    "read_card",
    "read_item",
    "require_same",
    "save_inference",
]


class Checkpoints:
    """Saves and restores one run.

    Args:
        workdir: the run's folder.
        keep: how many of the latest checkpoints stay.
        trained: names of the players that learn; frozen ones are not saved again.
        create: make the folders; False to read only.
    """

    def __init__(self, workdir: Path, trained: tuple[str, ...], keep: int = 2, create: bool = True):
        workdir = Path(workdir).absolute()
        self._trained = trained
        self._last = _manager(workdir / "checkpoints", keep, create)
        self._best = _manager(workdir / "best", 1, create)

    def latest_step(self) -> int | None:
        """The newest whole checkpoint's step, None when there is none."""
        return self._last.latest_step()

    def save(self, state: State, run: Mapping[str, Any]) -> None:
        """Starts an asynchronous save; it appears under its name only when whole.

        Args:
            state: the training state.
            run: JSON values of the host: loader position, best figure so far.
        """
        step = int(state.step)
        if step == self._last.latest_step():
            return
        train = {
            "step": state.step,
            "key": jax.random.key_data(state.key),
            "schedule": state.schedule,
            "opt_states": {name: state.players[name].opt_state for name in self._trained},
        }
        self._last.save(
            step,
            args=ocp.args.Composite(
                train=ocp.args.StandardSave(train),
                run=ocp.args.JsonSave(dict(run)),
                **self._players(state),
            ),
        )

    def save_best(self, state: State, card: Mapping[str, Any]) -> None:
        """Saves the players for inference with a card of config and figures."""
        self._best.save(
            int(state.step),
            args=ocp.args.Composite(card=ocp.args.JsonSave(dict(card)), **self._players(state)),
        )

    def restore(self, like: State) -> tuple[State, dict[str, Any]]:
        """The newest checkpoint.

        Args:
            like: a state of the same structure and shardings; its frozen players are kept.

        Returns:
            The state and the host's values.

        Raises:
            ValueError: the checkpoint is of another network or method.
        """
        step = self._last.latest_step()
        abstract = jax.tree.map(_like, like)
        folder = self._last.directory / str(step)
        for name, value in self._variables(abstract).items():
            require_same(folder / name, value)
        train = {
            "step": abstract.step,
            "key": _like(jax.random.key_data(like.key)),
            "schedule": abstract.schedule,
            "opt_states": {name: abstract.players[name].opt_state for name in self._trained},
        }
        items = {
            name: ocp.args.StandardRestore(value)
            for name, value in self._variables(abstract).items()
        }
        try:
            found = self._last.restore(
                step,
                args=ocp.args.Composite(
                    train=ocp.args.StandardRestore(train), run=ocp.args.JsonRestore(), **items
                ),
            )
        except (ValueError, KeyError) as error:
            raise ValueError(_misfit(folder, error)) from error
        players = dict(like.players)
        for name in self._trained:
            players[name] = PlayerState(
                found[name]["params"], found[name]["batch_stats"], found.train["opt_states"][name]
            )
        train = found.train
        key = jax.random.wrap_key_data(train["key"])
        return State(train["step"], key, players, train["schedule"]), found.run

    def close(self) -> None:
        """Waits until everything is on disk."""
        for manager in (self._last, self._best):
            manager.wait_until_finished()
            manager.close()

    def preempted(self, step: int) -> bool:
        """Whether the cluster asked all hosts to stop at this step."""
        return self._last.reached_preemption(step)

    def _variables(self, state: State) -> dict[str, Any]:
        return {name: state.players[name].variables for name in self._trained}

    def _players(self, state: State) -> dict[str, Any]:
        variables = self._variables(state)
        return {name: ocp.args.StandardSave(value) for name, value in variables.items()}


def _like(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)


def _manager(directory: Path, keep: int, create: bool) -> ocp.CheckpointManager:
    return ocp.CheckpointManager(
        directory,
        options=ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.LatestN(keep), create=create
        ),
    )


_OTHER_RUN = "resume with the config it was made with, or take another workdir"


def _misfit(folder: Path, why: object, remedy: str = _OTHER_RUN) -> str:
    return f"checkpoint {folder} does not fit this config's networks ({remedy}): {why}"


def require_same(item: Path, like: Mapping[str, Any], remedy: str = _OTHER_RUN) -> None:
    """Refuses another network before any array is read: a read that stops half way leaves
    Orbax's other readers to call back into a loop that is gone.

    Args:
        item: a checkpoint's folder of one player.
        like: that player's variables in the config.
        remedy: what to do, for the error.

    Raises:
        ValueError: an array's name, shape or type differs, see also `arrays.shapes`.
    """
    if (fault := arrays.difference(arrays.shapes(item), like)) is not None:
        raise ValueError(_misfit(item.parent, f"{item.name}/{fault}", remedy))


def save_inference(
    directory: Path, variables: Mapping[str, Mapping[str, Any]], card: Mapping[str, Any]
) -> None:
    """Writes a checkpoint that only inference and frozen players read.

    Args:
        directory: must not exist.
        variables: player -> {"params": ..., "batch_stats": ...}.
        card: JSON values; `card["config"]` must rebuild the networks.
    """
    items = {
        name: ocp.args.StandardSave(jax.tree.map(np.asarray, dict(value)))
        for name, value in variables.items()
    }
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        checkpointer.save(
            Path(directory).absolute(),
            ocp.args.Composite(card=ocp.args.JsonSave(dict(card)), **items),
        )
