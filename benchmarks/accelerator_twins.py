"""The rows of `accelerator.py` that PyTorch computes: Wav2Lip's generator and train step.

With channels last and cuDNN's autotuning, PyTorch's fastest. `float32` allows TF32, as XLA does;
`bfloat16` is autocast in training, as weights stay float32, and converted weights in inference.
"""

import contextlib
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import torch

from benchmarks import accelerator_inputs, torch_twin
from benchmarks.row_processes import Part, Row
from lipsync_jax.cli.compile_step import frozen_configs
from lipsync_jax.methods.wav2lip.torch_weights import from_variables
from lipsync_jax.training import sharding
from lipsync_jax.training.ahead_of_time import shapes
from lipsync_jax.training.compiled_steps import compile_steps


def prepare(part: Part) -> Callable[[], Row]:
    """Compiles a row: `train` or `inference` of Wav2Lip.

    Raises:
        ValueError: of another network, for which there is no twin.
    """
    if not part.config.startswith("wav2lip") or part.kind not in ("train", "inference"):
        raise ValueError(f"{part.kind} {part.config} has no twin in PyTorch")
    jax.config.update("jax_platforms", "cpu")  # only shapes, and weights on the host
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    call, batch = {"train": _train, "inference": _inference}[part.kind](part)
    for _ in range(2):  # compiles, and chooses algorithms
        call()
    _wait()

    def measure() -> Row:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        seconds = accelerator_inputs.time_calls(call, _wait, accelerator_inputs.SECONDS)
        row = {"ms": 1e3 * seconds, "batch": batch, "examples_per_second": batch / seconds}
        if torch.cuda.is_available():
            row["gigabytes"] = torch.cuda.max_memory_allocated() / 1e9
        return row

    return measure


def _train(part: Part) -> tuple[Callable[[], Any], int]:
    config = accelerator_inputs.read_config(part)
    frozen = frozen_configs(config, part.config)
    abstract = shapes.abstract_method(config, frozen)
    size, mesh = config.data.batch_size, sharding.make_mesh(jax.devices()[:1])
    steps = compile_steps(abstract.method, mesh)
    state = abstract.state(steps, abstract.batch(size))
    generator = _twin(torch_twin.Generator, "wav2lip", state.networks["generator"], config.model)
    expert = _twin(
        torch_twin.Expert, "sync_expert", state.networks["expert"], frozen["expert"].model
    )
    step = torch_twin.TrainingStep(generator, expert, torch.channels_last)
    batch = accelerator_inputs.random_batch(abstract.method, size)
    tensors = {name: torch.tensor(x).to(_device()) for name, x in batch.items()}
    if part.system == "torch.compile":
        step.loss = torch.compile(step.loss)
    precision = contextlib.nullcontext()
    if part.precision == "bfloat16":
        precision = torch.autocast(_device().type, torch.bfloat16)
    with_grad = step.loss

    def loss(batch: dict) -> tuple:
        with precision:  # not the backward pass, as PyTorch recommends
            return with_grad(batch)

    step.loss = loss
    return lambda: step.step(tensors), size


def _inference(part: Part) -> tuple[Callable[[], Any], int]:
    config = accelerator_inputs.read_config(part)
    abstract = shapes.abstract_method(config, frozen_configs(config, part.config))
    generator = abstract.trained(1).networks["generator"]
    network = _twin(torch_twin.Generator, "wav2lip", generator, config.model)
    dtype = getattr(torch, part.precision)
    network = network.eval().to(dtype)
    size, rng = part.batch or 1, np.random.default_rng(1)
    inputs = [
        torch.tensor(rng.random((size, *shape), np.float32)).to(_device(), dtype)
        for shape in ((1, 80, 16), (6, 96, 96))
    ]
    inputs = [x.to(memory_format=torch.channels_last) for x in inputs]

    def generate(audio: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(network(audio, faces).float())

    function = torch.compile(generate) if part.system == "torch.compile" else generate

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return function(*inputs)

    return call, size


def _twin(build: Callable, name: str, network: Any, model: Any) -> torch.nn.Module:
    """Returns a twin with the weights that the row of JAX has."""
    if math.ceil(model.depth_mult) != 1:
        raise ValueError(f"the twin has all residual blocks, not depth_mult={model.depth_mult}")
    variables = {
        "params": accelerator_inputs.random_weights(network.params),
        "batch_stats": accelerator_inputs.random_weights(network.batch_stats),
    }
    twin = build(model.width_mult)
    torch_twin.fill(twin, from_variables(variables, name, any_width=True))
    return twin.to(_device(), memory_format=torch.channels_last)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _wait(result: Any = None) -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
