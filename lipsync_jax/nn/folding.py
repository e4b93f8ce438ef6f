"""Folds BatchNorm into the convolution before it, for inference.

In inference BatchNorm is a factor and a shift of each channel. Multiplied into the convolution's
kernel once, the factor costs nothing; neither does the shift, where the convolution has a bias.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn
import numpy as np
from flax import traverse_util

from lipsync_jax.nn.batch_norm import FOLDED, BatchNorm
from lipsync_jax.nn.blocks import ConvNormAct
from lipsync_jax.nn.conv import ConvBlock
from lipsync_jax.types import Argument, Tree

Path = tuple[str, ...]
# Path of a layer with convolution and BatchNorm -> (path of the convolution, axis of the kernel's
# output channels, BatchNorm's epsilon).
Layers = dict[Path, tuple[Path, int, float]]


@contextlib.contextmanager
def record_layers() -> Iterator[Layers]:
    """Collects the layers that can be folded of the networks that are applied inside the block."""
    layers: Layers = {}

    def intercept(
        function: nn.module.Callable,
        args: Argument,
        kwargs: Argument,
        context: nn.module.InterceptorContext,
    ) -> Any:
        module = context.module
        if context.method_name == "__call__" and isinstance(module, ConvBlock | ConvNormAct):
            if module.norm:
                inner = ("conv",) if isinstance(module, ConvBlock) else ()
                epsilon = BatchNorm.epsilon if isinstance(module, ConvBlock) else module.epsilon
                axis = -2 if module.transposed else -1
                layers[module.path] = (*module.path, *inner), axis, epsilon
        return function(*args, **kwargs)

    with nn.intercept_methods(intercept):
        yield layers


def fold_batch_norm(variables: Mapping[str, Tree], layers: Layers) -> dict[str, Tree]:
    """Folds the running statistics, scales and biases of BatchNorm into convolutions.

    Args:
        variables: {"params": ..., "batch_stats": ...}, NumPy arrays.
        layers: of the network, from `record_layers`.

    Returns:
        Variables with which the network generates the same in inference, to rounding; training
        needs the original ones.
    """
    params = traverse_util.flatten_dict(dict(variables["params"]))
    statistics = traverse_util.flatten_dict(dict(variables.get("batch_stats", {})))
    for path, (convolution, axis, epsilon) in layers.items():
        norm = (*path, "norm")
        # In double precision, since the product is rounded once here and not in every batch.
        mean, var = (np.float64(statistics.pop((*norm, name))) for name in ("mean", "var"))
        scale, shift = (np.float64(params.pop((*norm, name))) for name in ("scale", "bias"))
        factor = scale / np.sqrt(var + epsilon)
        shift = shift - mean * factor
        kernel = params[*convolution, "kernel"]
        along = factor if axis == -1 else factor[:, None]
        params[*convolution, "kernel"] = (kernel * along).astype(kernel.dtype)
        bias = params.get((*convolution, "bias"))
        if bias is not None:
            params[*convolution, "bias"] = (bias * factor + shift).astype(bias.dtype)
            shift = shift[:0]
        statistics[*norm, FOLDED] = shift.astype(kernel.dtype)
    return {
        **variables,
        "params": traverse_util.unflatten_dict(params),
        "batch_stats": traverse_util.unflatten_dict(statistics),
    }
