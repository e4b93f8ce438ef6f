"""What the rows of `accelerator.py` share: configs, random weights and batches, and the clock."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import numpy as np

from benchmarks.row_processes import Part
from lipsync_jax import methods
from lipsync_jax.cli import _config_files
from lipsync_jax.training.ahead_of_time import shapes
from lipsync_jax.types import Tree

SECONDS = 1.5  # of a measurement


def read_config(part: Part) -> ml_collections.ConfigDict:
    """Returns the config of a part, with its precision and batch."""
    config = _config_files.read(part.config)
    config.precision = part.precision
    config.data.batch_size = part.batch or config.data.batch_size
    return config


def random_weights(tree: Tree) -> Tree:
    """Returns weights that keep the scale of signals, sampled on the host."""
    rng = np.random.default_rng(0)

    def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        name = path[-1].key
        if name in ("scale", "var", "mean", "bias"):
            return np.full(leaf.shape, name in ("scale", "var"), leaf.dtype)
        values = rng.standard_normal(leaf.shape, np.float32)
        return values / np.sqrt(max(1, np.prod(leaf.shape[:-1])), dtype=np.float32)

    return jax.tree_util.tree_map_with_path(fill, tree)


def random_batch(method: methods.Method, size: int) -> dict[str, np.ndarray]:
    """Returns copies of the largest example."""
    example = shapes.largest_example(method)
    return {name: np.repeat(x, size, axis=0) for name, x in example.items()}


def time_calls(call: Callable[[], Any], wait: Callable[[Any], Any], seconds: float) -> float:
    """Returns the median seconds of a call, of groups of calls that the host does not wait for."""
    wait(call())
    began = time.perf_counter()
    wait(call())
    group = max(1, round(0.1 / max(time.perf_counter() - began, 1e-5)))
    times, end = [], time.perf_counter() + seconds
    while len(times) < 2 or time.perf_counter() < end:
        began = time.perf_counter()
        for _ in range(group):
            result = call()
        wait(result)
        times.append((time.perf_counter() - began) / group)
    return statistics.median(times)
