"""Measures one row of `accelerator.py`, whose process this is.

    python -m benchmarks.accelerator_parts '{"kind": "train", "config": "wav2lip", ...}'

Without an argument it describes the machine. A row is compiled, `"ready"` is printed, and the row
is measured once a line is read. Weights are random; batches are copies of one example of a clip of
noise, which change no time.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator_inputs import (
    SECONDS,
    random_batch,
    random_weights,
    read_config,
    time_calls,
)
from benchmarks.row_processes import Part, Row
from lipsync_jax import methods
from lipsync_jax.cli.compile_step import frozen_configs
from lipsync_jax.methods.base import NetworkState, State
from lipsync_jax.methods.inference import AnimationInference, DubbingInference
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.synthesis import animation_model
from lipsync_jax.training import sharding
from lipsync_jax.training.ahead_of_time import hlo_costs, shapes, topologies
from lipsync_jax.training.ahead_of_time.hlo import Program
from lipsync_jax.training.compiled_steps import compile_steps
from lipsync_jax.types import Tree

Measure = Callable[[], Row]
# Part of `jax.Device.device_kind` -> a chip with these peaks of arithmetic; the first part counts.
PEAKS = {
    "H100": "h100",
    "H200": "h100",
    "v5 lite": "v5e",
    "v5e": "v5e",
    "v5": "v5p",
    "v6 lite": "v6e",
    "v6e": "v6e",
    "v4": "v4",
}
POSITIVE = 0.03  # of the losses that a validation switches on: the weight of Wav2Lip's sync loss


def machine() -> Row:
    """Describes the devices and the versions."""
    device = jax.devices()[0]
    found = {
        "platform": device.platform,
        "device": device.device_kind,
        "jax": jax.__version__,
        "cores": len(os.sched_getaffinity(0)),
    }
    try:
        import torch
    except ImportError:
        return found | {"torch": "not installed"}
    return found | {"torch": torch.__version__}


def random_state(abstract: State) -> State:
    """Returns a state of random weights, before the first step of optimizers, all losses on."""
    networks = {
        name: NetworkState(
            random_weights(network.params),
            random_weights(network.batch_stats),
            jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), network.opt_state),
        )
        for name, network in abstract.networks.items()
    }
    scalars = dict.fromkeys(abstract.host_scalars, np.float32(POSITIVE))
    return State(np.int32(0), jax.random.key(0), networks, scalars)


def describe(compiled: jax.stages.Compiled, precision: str, seconds: float, batch: int) -> Row:
    """Returns the row of a program of JAX that takes some seconds for a batch."""
    stats = compiled.memory_analysis()
    operations = hlo_costs.operations(Program(compiled.as_text()))
    rate = sum(x.flops for x in operations) / seconds
    device = jax.devices()[0]
    row = {
        "ms": 1e3 * seconds,
        "batch": batch,
        "examples_per_second": batch / seconds,
        "tflops": rate / 1e12,
        "gigabytes": (stats.argument_size_in_bytes + stats.temp_size_in_bytes) / 1e9,
    }
    if used := (device.memory_stats() or {}).get("peak_bytes_in_use"):
        row["peak_gigabytes"] = used / 1e9
    if (chip := chip_of(device.device_kind)) is not None:
        row["of_peak"] = rate / topologies.CHIPS[chip].flops[precision]
    return row


def chip_of(device_kind: str) -> str | None:
    """Returns the chip whose peaks a device has; None for an unknown one."""
    return next((chip for text, chip in PEAKS.items() if text in device_kind), None)


def prepare_train(part: Part) -> Measure:
    """Compiles a train step, with all its losses."""
    config = read_config(part)
    mesh = sharding.make_mesh(jax.devices()[:1])
    abstract = shapes.abstract_method(config, frozen_configs(config, part.config))
    steps = compile_steps(abstract.method, mesh)
    size = config.data.batch_size
    shape = abstract.batch(size)
    abstract_state = abstract.state(steps, shape)
    compiled = steps.train_step.lower(abstract_state, shape).compile()

    def measure() -> Row:
        state = sharding.replicate(random_state(abstract_state), mesh)
        batch = sharding.shard_batch(random_batch(abstract.method, size), mesh)
        state, metrics = compiled(state, batch)
        losses = {name: float(value) for name, value in metrics.items()}

        def step() -> Tree:
            nonlocal state
            state, metrics = compiled(state, batch)
            return metrics

        seconds = time_calls(step, jax.block_until_ready, SECONDS)
        return {**describe(compiled, part.precision, seconds, size), "first_step": losses}

    return measure


def prepare_inference(part: Part) -> Measure:
    """Compiles what a method's inference runs: of a frame each, or of pairs for a sync model."""
    config = read_config(part)
    abstract = shapes.abstract_method(config, frozen_configs(config, part.config))
    networks = abstract.trained(1).networks
    inference = methods.load_inference({"config": json.loads(config.to_json_best_effort())})
    size = part.batch or 1
    variables = {name: network.variables for name, network in networks.items()}
    if isinstance(inference, AnimationInference):
        size = -(-size // inference.frame_multiple) * inference.frame_multiple
    program, inputs = _inference_program(inference, variables, size)
    compiled = jit(program).lower(variables, *inputs).compile()

    def measure() -> Row:
        placed = jax.device_put((random_weights(variables), *random_inputs(inputs)))
        seconds = time_calls(lambda: compiled(*placed), jax.block_until_ready, SECONDS)
        return describe(compiled, part.precision, seconds, size)

    return measure


def _inference_program(
    inference: methods.inference.Inference, variables: Mapping[str, Tree], size: int
) -> tuple[Callable, list]:
    """Returns a function of variables by network and of inputs, and the inputs' shapes."""
    if isinstance(inference, AnimationInference):
        return inference.step, [*animation_model.step_inputs(inference, variables, size)]

    def shape(*sizes: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(sizes, np.float32)

    spec, side = inference.audio_features, inference.image_size
    audio = shape(size, spec.window, spec.bins)
    if isinstance(inference, DubbingInference):

        def generate(variables: Mapping[str, Tree], *inputs: jax.Array) -> jax.Array:
            return inference.generate(variables[inference.network], *inputs)

        return generate, [audio, shape(size, side, side, 3), shape(size, side, side, 3)]

    def embed(variables: Mapping[str, Tree], *inputs: jax.Array) -> tuple:
        return inference.embed(variables[inference.network], *inputs)

    return embed, [shape(size, inference.window_frames, side, side, 3), audio]


def random_inputs(inputs: Tree) -> Tree:
    """Returns inputs of given shapes: noise, or zeros of what holds no image or audio."""
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda x: (
            rng.random(x.shape).astype(x.dtype)
            if jnp.issubdtype(x.dtype, jnp.floating)
            else np.zeros(x.shape, x.dtype)
        ),
        inputs,
    )


def prepare_golden(part: Part) -> Measure:
    """Compiles a network whose published outputs are known."""
    from tests.golden import networks

    golden = networks.load(part.config, part.precision)
    matmul_precision = "highest" if part.precision == "highest" else None
    with jax.default_matmul_precision(matmul_precision):
        compiled = jit(golden.function).lower(*golden.inputs).compile()

    def measure() -> Row:
        outputs = np.asarray(compiled(*golden.inputs), np.float32)
        error = float(np.max(np.abs(outputs - golden.expected)))
        return {"error": error, "tolerance": golden.tolerance}

    return measure


def prepare_loader(part: Part) -> Measure:
    """Writes a data set of clips of 3 s, for windows by the clock on all cores but two."""
    from benchmarks import loader as clips
    from lipsync_jax.data import loader, pipeline

    folder = tempfile.TemporaryDirectory()
    dataset = clips.write_ours(clips.make_clips(3), Path(folder.name))
    workers = max(0, len(os.sched_getaffinity(0)) - 2)
    batches = pipeline.training_batches(
        loader.ClipDataSource(dataset, "train"),
        clips.make_example(part.config),
        part.batch,
        seed=0,
        num_workers=workers,
    )

    def measure() -> Row:
        for _ in range(4 * max(1, workers)):  # those that were read ahead
            next(batches)
        seconds = time_calls(lambda: next(batches), lambda x: x, 2 * SECONDS)
        batches.close()
        folder.cleanup()
        return {
            "ms": 1e3 * seconds,
            "examples_per_second": part.batch / seconds,
            "workers": workers,
        }

    return measure


PREPARE = {
    "golden": prepare_golden,
    "inference": prepare_inference,
    "train": prepare_train,
    "loader": prepare_loader,
}


def main() -> None:
    """Describes the machine, or measures the row that the command line names."""
    output = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries print too
    if len(sys.argv) == 1:
        print(json.dumps(machine()), file=output)
        return
    part, began = Part(**json.loads(sys.argv[1])), time.perf_counter()
    if part.system != "jax":
        from benchmarks import accelerator_twins

        measure = accelerator_twins.prepare(part)
    else:
        measure = PREPARE[part.kind](part)
    compile_seconds = time.perf_counter() - began
    print(json.dumps("ready"), file=output)
    if not sys.stdin.readline():  # the benchmark has ended
        return
    print(json.dumps({**measure(), "compile_seconds": compile_seconds}), file=output)


if __name__ == "__main__":
    main()
