"""Orbax checkpoints: one item a player, so that inference reads just the network it runs.

A run's folder holds

    checkpoints/<step>/  <player>..., train (optimisers, step, key, schedule), run (loader position)
    best/<step>/         <player>..., card (config, validation figures)
    damaged/             what a resumed run did not trust, see `damage`

and `lipsync convert` writes a single folder shaped like one of best/'s. Reading those for inference
is in `inference`, whose functions are found here too.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers

from lipsync_jax.methods.base import PlayerState, State
from lipsync_jax.training import arrays, damage
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
from lipsync_jax.types import Card, Json, Tree

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
        gap: steps from one checkpoint to the next at most, see `damage.set_aside`.

    Raises:
        ValueError: all checkpoints are damaged, or best/ is not of this run.
    """

    def __init__(
        self, workdir: Path, trained: tuple[str, ...], keep: int = 2, gap: int = 0
    ) -> None:
        workdir = Path(workdir).absolute()
        self._workdir, self._trained = workdir, trained
        _on_first(lambda: damage.set_aside(workdir, ("train", "run", *trained), gap))
        self._last = _manager(workdir / "checkpoints", keep)
        self._best = _manager(workdir / "best", 1)

    def latest_step(self) -> int | None:
        """The newest whole checkpoint's step, None when there is none."""
        return self._last.latest_step()

    def save(self, state: State, run: Mapping[str, Json]) -> None:
        """Starts an asynchronous save; it appears under its name only when whole.

        Args:
            state: the training state.
            run: JSON values of the host: loader position, best figure so far.

        Raises:
            FloatingPointError: a weight is not finite; nothing is saved.
        """
        self._require_finite(state)
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

    def save_best(self, state: State, card: Card) -> None:
        """Saves the players for inference with a card of config and figures; see `save`."""
        self._require_finite(state)
        self._best.save(
            int(state.step),
            args=ocp.args.Composite(card=ocp.args.JsonSave(dict(card)), **self._players(state)),
        )

    def steps(self) -> list[int]:
        """Steps of all whole checkpoints, the oldest first."""
        self._last.wait_until_finished()
        return sorted(self._last.all_steps())

    def set_aside(self, step: int) -> None:
        """Moves a checkpoint to `damaged/`."""
        folder = self._last.directory / str(step)
        _on_first(lambda: damage.move(Path(folder), self._workdir))
        self._last.reload()

    def restore(self, like: State, step: int | None = None) -> tuple[State, dict[str, Json]]:
        """A checkpoint.

        Args:
            like: a state of the same structure and shardings; its frozen players are kept.
            step: which one; the newest when None.

        Returns:
            The state and the host's values.

        Raises:
            ValueError: the checkpoint is of another network or method.
        """
        step = self._last.latest_step() if step is None else step
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
        except Exception as error:  # whatever Orbax and TensorStore raise
            if (folder / damage.NAME).exists():  # its bytes are those that were saved
                why = f"its optimisers are not those of the config ({error})"
                raise ValueError(_misfit(folder, why)) from error
            raise ValueError(
                f"checkpoint {folder} is damaged, or its optimisers are not those of the config "
                f"({error}); remove it to go on from the one before"
            ) from error
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
            try:
                manager.wait_until_finished()
            finally:
                manager.close()

    def preempted(self, step: int) -> bool:
        """Whether the cluster asked all hosts to stop at this step."""
        return self._last.reached_preemption(step)

    def _require_finite(self, state: State) -> None:
        """Figures can be finite when an update no more is; what is kept must be good."""
        for name in self._trained:
            if not bool(_all_finite(state.players[name])):
                raise FloatingPointError(f"weights of {name} are not finite")

    def _variables(self, state: State) -> dict[str, Tree]:
        return {name: state.players[name].variables for name in self._trained}

    def _players(self, state: State) -> dict[str, Tree]:
        variables = self._variables(state)
        return {name: ocp.args.StandardSave(value) for name, value in variables.items()}


def _like(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)


@jax.jit
def _all_finite(tree: Tree) -> jax.Array:
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(x).all() for x in floats]).all()


def _on_first(do: Callable[[], object]) -> None:
    """Runs something on the first process while the others wait; all fail if it fails."""
    failed: Exception | None = None
    if jax.process_index() == 0:
        try:
            do()
        except (OSError, ValueError) as error:
            failed = error
    if jax.process_count() > 1:
        sent = np.int32(failed is not None)
        if multihost_utils.broadcast_one_to_all(sent) and failed is None:
            failed = ValueError("the first process can't use the run's checkpoints, and says why")
    if failed is not None:
        raise failed


def _manager(directory: Path, keep: int) -> ocp.CheckpointManager:
    def digest() -> None:
        if jax.process_index() == 0:
            damage.write_missing_digests(directory)

    return ocp.CheckpointManager(
        directory,
        options=ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.LatestN(keep),
            create=True,
            async_options=ocp.AsyncOptions(post_finalization_callback=digest),
            # Two managers finish their saves at the same time: barriers of their own.
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                barrier_sync_key_prefix=directory.name
            ),
        ),
    )


_OTHER_RUN = "resume with the config it was made with, or take another workdir"


def _misfit(folder: Path, why: object, remedy: str = _OTHER_RUN) -> str:
    return f"checkpoint {folder} does not fit this config's networks ({remedy}): {why}"


def require_same(item: Path, like: Mapping[str, Tree], remedy: str = _OTHER_RUN) -> None:
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
    directory: Path, variables: Mapping[str, Mapping[str, Tree]], card: Card
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
