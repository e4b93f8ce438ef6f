"""Runs a network on the weights and inputs of golden outputs, for the tests of all networks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from lipsync_jax.nn.cpu.jit import jit
from tests.golden.glance import recipe
from tests.helpers.double_precision import double_precision

# Float32 errors of the PyTorch networks were up to 21 times the deviation that one rounding of
# each weight and input causes (three networks, of three to five seeds).
ROUNDINGS, DRAWS = 32, 3


class Run(NamedTuple):
    """Outputs of a network in one mode.

    Attributes:
        mode: "eval" or "train".
        outputs: of the module.
        statistics: running statistics after the run; {} without BatchNorm.
        rounding: of the structure of `outputs`: largest error of float32 results, a float per
            array.
    """

    mode: str
    outputs: Any
    statistics: dict
    rounding: Any


def run(
    network: str,
    module: nn.Module,
    names: list[str | None],
    inputs: Sequence[np.ndarray],
    method: str | None = None,
    optimize: bool = True,
    double_train: bool = False,
    fixed: Mapping[str, str] | None = None,
) -> Iterator[Run]:
    """Runs all modes of the golden outputs of a network.

    BatchNorm of vectors over a batch of two divides by the difference of two values. Where both are
    close, float32 errors grow by up to 1 / sqrt(epsilon) a layer, in the golden outputs too.
    `double_train` is for networks with such layers: the outputs here are exact, and `rounding` is
    the possible error of the golden ones.

    Args:
        network: name of the golden outputs.
        module: the network to test.
        names: see `recipe.variables`.
        inputs: of the module.
        method: name of the method to call; None: `__call__`.
        optimize: see `lipsync_jax.nn.cpu.jit.jit`.
        double_train: runs "train" in float64 and estimates `rounding`, which is 0 otherwise.
        fixed: layers whose output is replaced by a golden array: layer -> name of the array
            without the mode. The test then covers the layers after these alone.
    """
    golden = recipe.expected(network)
    variables = recipe.variables(network, module, names, [x.shape for x in inputs])
    given = variables, list(inputs)
    modes = sorted({name.partition("/")[0] for name in golden})
    for mode in modes:
        codes = {layer: golden[f"{mode}/{name}"] for layer, name in (fixed or {}).items()}

        def apply(variables, inputs, train=mode == "train", codes=codes):
            with _replacing(codes):
                return module.apply(
                    variables, *inputs, train=train, method=method, mutable=["batch_stats"]
                )

        if double_train and mode == "train":
            yield Run(mode, *_run_double(apply, given))
            continue
        with jax.default_matmul_precision("highest"):
            outputs, new = jit(apply, optimize=optimize)(*given)
        rounding = jax.tree.map(lambda _: 0.0, outputs)
        yield Run(mode, outputs, new.get("batch_stats", {}), rounding)


def _run_double(apply, given) -> tuple[Any, dict, Any]:
    """Outputs and statistics in float64; the largest deviations after random roundings."""
    rng = np.random.default_rng(0)

    def rounded(x):
        return x * (1 + ROUNDINGS * 2.0**-24 * rng.uniform(-1, 1, x.shape))

    with double_precision():
        compiled = jit(apply, optimize=False)
        exact = jax.tree.map(np.float64, given)
        outputs, new = jax.tree.map(np.asarray, compiled(*exact))
        rounding = jax.tree.map(lambda _: 0.0, outputs)
        for _ in range(DRAWS):
            others, _ = compiled(*jax.tree.map(rounded, exact))
            rounding = jax.tree.map(
                lambda most, x, y: max(most, float(np.abs(x - y).max())), rounding, outputs, others
            )
    return outputs, new.get("batch_stats", {}), rounding


def _replacing(codes: Mapping[str, np.ndarray]):
    """Returns a context in which layers, by name, return other arrays than their own."""

    def intercept(call, args, kwargs, context):
        own, name = call(*args, **kwargs), context.module.name
        if name not in codes or context.method_name != "__call__":
            return own
        return codes[name].reshape(own.shape).astype(own.dtype)

    return nn.intercept_methods(intercept)
