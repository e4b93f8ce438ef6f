"""The functions of a method, compiled for the devices of a mesh."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax

from lipsync_jax.methods.base import Method, State
from lipsync_jax.nn.cpu import programs_for
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.training import sharding
from lipsync_jax.training.train_step import TrainStep, step_options
from lipsync_jax.types import Argument, Tree


@dataclass(frozen=True)
class CompiledSteps:
    """A method's functions, compiled for a mesh; each is compiled once per shape of batch.

    The train step is compiled anew where a loss term is switched on or off, see `TrainStep`.
    """

    init_state: Callable[[jax.Array, dict], State]
    train_step: TrainStep
    eval_step: Callable[[State, dict], dict]
    sample_images: Callable[[State, dict], tuple]


def compile_steps(method: Method, mesh: jax.sharding.Mesh) -> CompiledSteps:
    """Compiles a method for a mesh; batches are split along `data`, the state is replicated.

    The programs are those of the platform of the mesh, which this machine may lack.
    """
    replicated, batch_split = sharding.replicated_sharding(mesh), sharding.batch_sharding(mesh)
    target = mesh.devices.flat[0].platform, mesh.devices.size

    def eval_step(state: State, batch: dict) -> dict:
        return {**method.eval_step(state, batch), "example_mask": batch["example_mask"]}

    shardings: dict[str, Argument] = {
        "in_shardings": (replicated, batch_split),
        "out_shardings": replicated,
    }

    def compiled(function: Callable, **options: Argument) -> Callable:
        @functools.wraps(function)
        def traced(*inputs: Tree) -> Tree:
            with programs_for(*target):
                return function(*inputs)

        with programs_for(*target):
            return jit(traced, **options, **shardings)

    return CompiledSteps(
        init_state=compiled(method.init, optimize=False),
        train_step=TrainStep(method, compiled, step_options(method.config, mesh)),
        eval_step=compiled(eval_step),
        sample_images=compiled(method.sample_images),
    )
