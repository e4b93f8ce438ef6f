"""Measures the speed of Wav2Lip's generator and training step, in JAX and in PyTorch.

    python benchmarks/wav2lip.py [--device cpu|gpu] [--batch 8] [--windows 2] [--width 1.0]

Both sides get equal weights and inputs, and must agree before times are measured. Repetitions of
both sides alternate, so that other load on the machine slows both; medians are compared.
"""

import argparse
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

try:
    import torch
    from torch.utils.flop_counter import FlopCounterMode
except ImportError:
    sys.exit("benchmarks/wav2lip.py compares with PyTorch: pip install torch")

import jax
import jax.numpy as jnp
import numpy as np
import torch_twin
from flax.traverse_util import flatten_dict, unflatten_dict

from lipsync_jax import methods
from lipsync_jax.configs import sync_expert, wav2lip
from lipsync_jax.methods.base import NetworkState, init_train_state
from lipsync_jax.methods.wav2lip.torch_weights import from_variables
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.training import sharding
from lipsync_jax.training.compiled_steps import compile_steps

AUDIO = (80, 16, 1)
LAYOUTS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}


class Times(NamedTuple):
    """Wall time and processor time of all threads together, seconds.

    With --threads=1 processor time does not depend on other load; with more threads it includes
    the busy waiting of PyTorch's threads.
    """

    wall: float
    processor: float


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--batch", type=int, default=8, help="faces per batch")
    parser.add_argument("--windows", type=int, default=2, help="training windows of 5 frames")
    parser.add_argument(
        "--width", type=float, default=1.0, help="width_mult of generator and expert"
    )
    parser.add_argument("--repeats", type=int, default=9, help="repetitions of each measurement")
    parser.add_argument("--threads", type=int, help="CPU threads of both sides (default: all)")
    parser.add_argument("--only", choices=("inference", "training"))
    return parser.parse_args()


def method_of(width: float):
    """Returns the published method with its sync loss on, at a width."""
    config, expert = wav2lip.get_config(), sync_expert.get_config()
    config.model.width_mult = expert.model.width_mult = width
    config.loss.sync = torch_twin.SYNC_WEIGHT
    config.loss.sync_initial = config.loss.sync
    return methods.load(config, {"expert": {"config": expert.to_dict()}})


def batch_of(windows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    frames = (windows, 1, torch_twin.FRAMES)
    return {
        "frames": rng.integers(0, 256, (*frames, 96, 96, 3), np.uint8),
        "reference": rng.integers(0, 256, (*frames, 96, 96, 3), np.uint8),
        "audio": rng.uniform(-4, 4, (*frames, 16, 80)).astype(np.float32),
        "sync_audio": rng.uniform(-4, 4, (windows, 1, 16, 80)).astype(np.float32),
    }


def random_variables(module, *inputs: tuple[int, ...]) -> dict:
    """Samples variables with NumPy, because compiling the initialisers takes longest."""
    inputs = [jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in inputs]
    shapes = flatten_dict(jax.eval_shape(module.init, jax.random.key(0), *inputs))
    rng = np.random.default_rng(0)

    def values(path, shape):
        if path[-1] == "kernel":
            # Below He's gain, or the residual chains saturate the outputs.
            return 0.8 * math.sqrt(2 / math.prod(shape[:-1])) * rng.standard_normal(shape)
        return np.full(shape, path[-1] in ("scale", "var"))

    return unflatten_dict(
        {path: values(path, leaf.shape).astype(np.float32) for path, leaf in shapes.items()}
    )


def torch_twin_of(variables: Mapping, network: str, width: float, device) -> torch.nn.Module:
    built = {"wav2lip": torch_twin.Generator, "sync_expert": torch_twin.Expert}[network](width)
    torch_twin.fill(built, from_variables(variables, network, any_width=True))
    return built.to(device)


def race(runners: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Times]:
    """Returns median times of each; each round runs all runners, in rotating order."""
    names, found = list(runners), {name: [] for name in runners}
    for runner in runners.values():
        runner()
    for i in range(repeats):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            wall, processor = time.perf_counter(), time.process_time()
            runners[name]()
            found[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {name: Times(*map(statistics.median, zip(*t, strict=True))) for name, t in found.items()}


def count_flops(function: Callable[[], object]) -> int:
    """Counts operations of convolutions as PyTorch does: two per multiply-add."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def report(title: str, times: Mapping[str, Times], frames: int, flops: int):
    """Prints medians; ratios are times over those of JAX: above 1, JAX is faster."""
    print(f"\n{title}: {frames} frames, {flops / 1e9:.1f} GFLOP")
    print(
        f"{'':12} {'ms':>9} {'frames/s':>9} {'GFLOP/s':>8} {'ratio':>6} {'CPU ms':>9} {'ratio':>6}"
    )
    best = times["jax"]
    for name, (wall, processor) in times.items():
        print(
            f"{name:12} {1e3 * wall:9.1f} {frames / wall:9.2f} {flops / wall / 1e9:8.1f} "
            f"{wall / best.wall:6.2f} {1e3 * processor:9.1f} {processor / best.processor:6.2f}"
        )


def inference(options, method, device):
    variables = random_variables(method.networks["generator"].module, AUDIO, (96, 96, 6))
    rng = np.random.default_rng(1)
    audio = rng.uniform(-4, 4, (options.batch, 80, 16, 1)).astype(np.float32)
    faces = rng.random((options.batch, 96, 96, 6), np.float32)
    faces[:, 48:, :, :3] = 0
    generate, placed = jit(method.generate_frames), jax.device_put((variables, audio, faces))
    runners = {"jax": lambda: np.asarray(generate(*placed))}
    expected = np.moveaxis(runners["jax"](), -1, 1)
    for name, layout in LAYOUTS.items():
        twin = (
            torch_twin_of(variables, "wav2lip", options.width, device)
            .eval()
            .to(memory_format=layout)
        )
        inputs = [torch.tensor(x).movedim(-1, 1).to(device) for x in (audio, faces)]
        inputs = [x.contiguous(memory_format=layout) for x in inputs]

        def run(twin=twin, inputs=inputs):
            with torch.inference_mode():
                return torch.sigmoid(twin(*inputs)).cpu().numpy()

        # GPUs convolve with ten bits of mantissa by default, on both sides.
        atol = 2e-5 if options.device == "cpu" else 1e-2
        np.testing.assert_allclose(run(), expected, rtol=0, atol=atol, err_msg="other faces")
        runners[f"torch {name}"] = run
    flops = count_flops(runners["torch nchw"])
    report("Generator", race(runners, options.repeats), options.batch, flops)


def training(options, method, device):
    networks = method.networks
    generator = random_variables(networks["generator"].module, AUDIO, (96, 96, 6))
    expert = random_variables(method.expert.module, AUDIO, (48, 96, 15))
    mesh = sharding.make_mesh(jax.devices()[:1])
    state = init_train_state(
        jax.random.key(0),
        {
            "generator": networks["generator"].init_state(generator),
            "expert": NetworkState(**expert),
        },
        sync_weight=torch_twin.SYNC_WEIGHT,
    )
    state, batch = sharding.replicate(state, mesh), batch_of(options.windows)
    steps, placed = compile_steps(method, mesh), sharding.shard_batch(batch, mesh)

    def update():
        nonlocal state
        state, scalars = steps.train_step(state, placed)
        return {name: float(value) for name, value in scalars.items()}

    first, runners = update(), {"jax": update}
    tensors = {name: torch.tensor(x).to(device) for name, x in batch.items()}
    for name, layout in LAYOUTS.items():
        twin = torch_twin.TrainingStep(
            torch_twin_of(generator, "wav2lip", options.width, device).to(memory_format=layout),
            torch_twin_of(expert, "sync_expert", options.width, device).to(memory_format=layout),
            layout,
        )

        def run(twin=twin):
            return {name: float(value) for name, value in twin.step(tensors).items()}

        for scalar, value in run().items():
            rtol = 1e-3 if options.device == "cpu" else 5e-2
            np.testing.assert_allclose(value, first[scalar], rtol=rtol, err_msg=f"other {scalar}")
        runners[f"torch {name}"] = run
    flops = count_flops(lambda: twin.loss(tensors)[0].backward())
    times = race(runners, options.repeats)
    report("Training step", times, torch_twin.FRAMES * options.windows, flops)


def main():
    options = arguments()
    if options.threads:
        # XLA has as many threads as there are cores to run on.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    jax.config.update("jax_platforms", {"cpu": "cpu", "gpu": "cuda"}[options.device])
    device = torch.device({"cpu": "cpu", "gpu": "cuda"}[options.device])
    where = f"{threads} CPU threads" if options.device == "cpu" else torch.cuda.get_device_name()
    print(f"jax {jax.__version__}, torch {torch.__version__}, {where}, width {options.width:g}")
    method = method_of(options.width)
    if options.only != "training":
        inference(options, method, device)
    if options.only != "inference":
        training(options, method, device)


if __name__ == "__main__":
    main()
