"""Orbax checkpoints: one item a network, so that inference reads just the network it runs.

A run's folder holds

    checkpoints/<step>/  <network>..., train (optimizers, step, key, host scalars),
                         run (data loader position, best metric, format)
    best/<step>/         <network>..., model_card (config, validation metrics, format)
    damaged/             checkpoints whose digests differ, see `damage`

and `lipsync convert` writes a single folder with the layout of best/<step>/. Reading for inference
is in `inference`, whose functions are available here too.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers

from lipsync_jax import paths
from lipsync_jax.methods.base import NetworkState, State
from lipsync_jax.training import arrays, checkpoint_mirror, damage, model_cards
from lipsync_jax.training.checkpoint_folder import resolve_checkpoint
from lipsync_jax.training.checkpoint_mirror import CheckpointMirror
from lipsync_jax.training.inference import (
    SHAPE_ERRORS,
    CheckpointError,
    ShapeCheck,
    find_network,
    load_inference,
    load_network,
    load_networks,
    raise_on_shape_mismatch,
    read_item,
    read_model_card,
)
from lipsync_jax.types import Json, ModelCard, Tree

__all__ = [
    "SHAPE_ERRORS",
    "CheckpointError",
    "Checkpoints",
    "ShapeCheck",
    "check_compatible",
    "export_networks",
    "find_network",
    "load_inference",
    "load_network",
    "load_networks",
    "raise_on_shape_mismatch",
    "read_item",
    "read_model_card",
    "resolve_checkpoint",
]


class Checkpoints:
    """Saves and restores one run.

    Args:
        workdir: the run's folder.
        trainable: names of the networks that are trained; frozen ones are not saved again.
        max_to_keep: how many of the latest checkpoints stay.
        max_step_gap: steps from one checkpoint to the next at most, see
            `damage.quarantine_damaged`.
        keep_period: checkpoints at multiples of this step stay beside the latest; 0: none.

    Raises:
        ValueError: the newest checkpoint has another format, all checkpoints are damaged, or best/
            is not of this run.
    """

    def __init__(
        self,
        workdir: Path,
        trainable: tuple[str, ...],
        max_to_keep: int = 2,
        max_step_gap: int = 0,
        keep_period: int = 0,
    ) -> None:
        workdir = paths.absolute(workdir)
        self._mirror = CheckpointMirror(workdir) if checkpoint_mirror.is_needed(workdir) else None
        workdir = self._mirror.folder if self._mirror else workdir
        self._workdir, self._trainable = workdir, trainable

        def prepare() -> None:
            _check_run_format(workdir)
            damage.quarantine_damaged(workdir, ("train", "run", *trainable), max_step_gap)

        _on_primary_process(prepare)
        if self._mirror and (workdir / "damaged").is_dir():
            self._mirror.push()  # before a step of the same number is saved anew
        self._latest = _manager(workdir / "checkpoints", max_to_keep, keep_period)
        self._best = _manager(workdir / "best", 1)

    def latest_step(self) -> int | None:
        """Returns the step of the newest complete checkpoint; None without one."""
        return self._latest.latest_step()

    def save(self, state: State, run: Mapping[str, Json]) -> bool:
        """Starts an asynchronous save; the checkpoint gets its name when it is complete.

        Args:
            state: the training state.
            run: JSON values of the host: data loader position, best metric so far.

        Returns:
            False where the step has a checkpoint already.

        Raises:
            FloatingPointError: a weight is not finite; nothing is saved.
        """
        self._require_finite(state)
        step = int(state.step)
        if step == self._latest.latest_step():
            return False
        train = {
            "step": state.step,
            "key": jax.random.key_data(state.key),
            "host_scalars": state.host_scalars,
            "opt_states": {name: state.networks[name].opt_state for name in self._trainable},
        }
        self._latest.save(
            step,
            args=ocp.args.Composite(
                train=ocp.args.StandardSave(train),
                run=ocp.args.JsonSave({**run, **model_cards.stamp()}),
                **self._network_items(state),
            ),
        )
        if self._mirror:
            self._latest.wait_until_finished()
            self._best.wait_until_finished()
            self._mirror.push()
        return True

    def save_best(self, state: State, model_card: ModelCard) -> None:
        """Saves the trained networks for inference, with a model card; see `save`."""
        self._require_finite(state)
        self._best.save(
            int(state.step),
            args=ocp.args.Composite(
                model_card=ocp.args.JsonSave({**model_card, **model_cards.stamp()}),
                **self._network_items(state),
            ),
        )

    def steps(self) -> list[int]:
        """Returns the steps of all complete checkpoints, the oldest first."""
        self._latest.wait_until_finished()
        return sorted(self._latest.all_steps())

    def quarantine(self, step: int) -> None:
        """Moves a checkpoint to `damaged/`."""
        folder = self._latest.directory / str(step)
        _on_primary_process(lambda: damage.quarantine(paths.parse(folder), self._workdir))
        self._latest.reload()

    def restore(self, target: State, step: int | None = None) -> tuple[State, dict[str, Json]]:
        """Restores a checkpoint.

        Args:
            target: a state of the same structure and shardings; its frozen networks are kept.
            step: of the checkpoint; None restores the newest.

        Returns:
            The state and the host's values.

        Raises:
            ValueError: the checkpoint is of another network or method.
        """
        step = self._latest.latest_step() if step is None else step
        abstract = jax.tree.map(_abstract_like, target)
        folder = self._latest.directory / str(step)
        for name, value in self._variables(abstract).items():
            check_compatible(folder / name, value)
        train = {
            "step": abstract.step,
            "key": _abstract_like(jax.random.key_data(target.key)),
            "host_scalars": abstract.host_scalars,
            "opt_states": {name: abstract.networks[name].opt_state for name in self._trainable},
        }
        items = {
            name: ocp.args.StandardRestore(value)
            for name, value in self._variables(abstract).items()
        }
        try:
            found = self._latest.restore(
                step,
                args=ocp.args.Composite(
                    train=ocp.args.StandardRestore(train), run=ocp.args.JsonRestore(), **items
                ),
            )
        except Exception as error:  # whatever Orbax and TensorStore raise
            if (folder / damage.DIGESTS_FILE).exists():  # its bytes are those that were saved
                reason = f"its optimizers are not those of the config ({error})"
                raise ValueError(_mismatch_error(folder, reason)) from error
            raise ValueError(
                f"checkpoint {folder} is damaged, or its optimizers are not those of the config "
                f"({error}); remove it to go on from the one before"
            ) from error
        networks = dict(target.networks)
        for name in self._trainable:
            networks[name] = NetworkState(
                found[name]["params"], found[name]["batch_stats"], found.train["opt_states"][name]
            )
        train = found.train
        key = jax.random.wrap_key_data(train["key"])
        return State(train["step"], key, networks, train["host_scalars"]), found.run

    def close(self) -> None:
        """Waits until every save is on disk."""
        for manager in (self._latest, self._best):
            try:
                manager.wait_until_finished()
            finally:
                manager.close()
        if self._mirror:
            self._mirror.push()
            self._mirror.close()

    def preempted(self, step: int) -> bool:
        """Returns whether the cluster asked all hosts to stop at this step."""
        return self._latest.reached_preemption(step)

    def _require_finite(self, state: State) -> None:
        """Refuses weights that an update made infinite or NaN while the metrics were finite."""
        for name in self._trainable:
            if not bool(_all_finite(state.networks[name])):
                raise FloatingPointError(f"weights of {name} are not finite")

    def _variables(self, state: State) -> dict[str, Tree]:
        return {name: state.networks[name].variables for name in self._trainable}

    def _network_items(self, state: State) -> dict[str, Tree]:
        variables = self._variables(state)
        return {name: ocp.args.StandardSave(value) for name, value in variables.items()}


def _abstract_like(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)


@jax.jit
def _all_finite(tree: Tree) -> jax.Array:
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(x).all() for x in floats]).all()


def _on_primary_process(action: Callable[[], object]) -> None:
    """Runs a function on the first process while the others wait; all fail if it fails."""
    failure: Exception | None = None
    if jax.process_index() == 0:
        try:
            action()
        except (OSError, ValueError) as error:
            failure = error
    if jax.process_count() > 1:
        flag = np.int32(failure is not None)
        if multihost_utils.broadcast_one_to_all(flag) and failure is None:
            failure = ValueError(
                "the first process can't use the run's checkpoints; its own message says why"
            )
    if failure is not None:
        raise failure


def _check_run_format(workdir: Path) -> None:
    """Refuses a run of another format; damaged checkpoints are left to `damage`."""
    for folder in damage.steps_of(workdir / "checkpoints")[-1:]:
        try:
            run = json.loads((folder / "run" / "metadata").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(run, dict) and "loader" in run:
            model_cards.check_format(run, folder)


def _manager(directory: Path, max_to_keep: int, keep_period: int = 0) -> ocp.CheckpointManager:
    kept = [checkpoint_managers.LatestN(max_to_keep)]
    if keep_period:
        kept.append(checkpoint_managers.EveryNSteps(keep_period))

    def digest() -> None:
        if jax.process_index() == 0:
            damage.write_missing_digests(directory)

    return ocp.CheckpointManager(
        directory,
        options=ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(kept),
            create=True,
            async_options=ocp.AsyncOptions(post_finalization_callback=digest),
            # Two managers finish their saves at the same time: barriers of their own.
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                barrier_sync_key_prefix=directory.name
            ),
        ),
    )


_OTHER_RUN = "resume with the config it was made with, or take another workdir"


def _mismatch_error(folder: Path, reason: object, remedy: str = _OTHER_RUN) -> str:
    return f"checkpoint {folder} does not fit this config's networks ({remedy}): {reason}"


def check_compatible(item: Path, expected: Mapping[str, Tree], remedy: str = _OTHER_RUN) -> None:
    """Refuses the weights of another network before any array is read.

    A read that fails half way leaves Orbax's other readers to call back into a closed event loop.

    Args:
        item: a checkpoint's folder of one network.
        expected: the variables of that network as the config builds it.
        remedy: what to do, for the error.

    Raises:
        ValueError: an array's name, shape or type differs, see also `arrays.shapes`.
    """
    if (mismatch := arrays.first_mismatch(arrays.shapes(item), expected)) is not None:
        raise ValueError(_mismatch_error(item.parent, f"{item.name}/{mismatch}", remedy))


def export_networks(
    directory: Path, variables: Mapping[str, Mapping[str, Tree]], model_card: ModelCard
) -> None:
    """Writes a checkpoint for inference and for use as a frozen network.

    Args:
        directory: must not exist.
        variables: network name -> {"params": ..., "batch_stats": ...}.
        model_card: JSON values; `model_card["config"]` must rebuild the networks.
    """
    items = {
        name: ocp.args.StandardSave(jax.tree.map(np.asarray, dict(value)))
        for name, value in variables.items()
    }
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        checkpointer.save(
            paths.absolute(directory),
            ocp.args.Composite(
                model_card=ocp.args.JsonSave({**model_card, **model_cards.stamp()}), **items
            ),
        )
