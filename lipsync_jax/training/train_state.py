"""The state in which a run begins: initial weights, and frozen networks of checkpoints."""

import jax
import ml_collections

from lipsync_jax.methods.base import Method, NetworkState, State
from lipsync_jax.training import arrays, checkpoints, sharding
from lipsync_jax.training.compiled_steps import CompiledSteps
from lipsync_jax.training.data_pipeline import DataPipeline
from lipsync_jax.types import Tree


def create_train_state(
    config: ml_collections.ConfigDict,
    method: Method,
    mesh: jax.sharding.Mesh,
    data: DataPipeline,
    steps: CompiledSteps,
) -> State:
    """Creates the state before the first step, with frozen networks from their checkpoints."""
    batch = next(iter(data.training_batches()))
    batch.pop("clip_id")
    batch = sharding.shard_batch(batch, mesh)
    state = steps.init_state(sharding.replicate(jax.random.key(config.seed), mesh), batch)
    frozen = {}
    for name, variables in _read_frozen(config, state, batch, steps).items():
        frozen[name] = NetworkState(**sharding.replicate(variables, mesh))
    return state.replace(networks={**state.networks, **frozen})


def _read_frozen(
    config: ml_collections.ConfigDict, state: State, batch: dict, steps: CompiledSteps
) -> dict[str, Tree]:
    """Reads the variables of the frozen networks, after a step was traced with their shapes.

    The trace has the loss terms that are still off; a compilation with all terms reuses the trace.
    """
    sources = config.frozen
    items = {
        name: checkpoints.find_network(source.checkpoint, source.network)
        for name, source in sources.items()
    }
    if not items:
        return {}
    abstract_networks = {name: NetworkState(**arrays.shapes(item)) for name, item in items.items()}
    folders = ", ".join(str(item.parent) for item in items.values())
    with checkpoints.raise_on_shape_mismatch(folders, checkpoints.SHAPE_ERRORS):
        steps.train_step.eval_shape(
            state.replace(networks={**state.networks, **abstract_networks}), batch
        )
    return {name: checkpoints.read_item(item) for name, item in items.items()}
