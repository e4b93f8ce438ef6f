"""Folds BatchNorm into the convolution before it, for inference.

In inference BatchNorm is a factor and a shift of each channel. Multiplied into the convolution's
kernel once, the factor costs nothing; neither does the shift, where the convolution has a bias.

    with folding.skip_batch_norm() as layers:  # inside the function that is compiled
        generated = network.apply(variables, inputs)
    variables = folding.fold_batch_norm(variables, layers)  # once it has been traced
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import numpy as np
from flax import traverse_util

from lipsync_jax.nn.batch_norm import BatchNorm
from lipsync_jax.nn.blocks import ConvNormAct
from lipsync_jax.nn.conv import ConvBlock
from lipsync_jax.types import Tree

Path = tuple[str, ...]
# Path of a layer with convolution and BatchNorm -> (path of the convolution, axis of the kernel's
# output channels, BatchNorm's epsilon).
Layers = dict[Path, tuple[Path, int, float]]


@contextlib.contextmanager
def skip_batch_norm() -> Iterator[Layers]:
    """Lets networks that are applied inside the block expect folded variables.

    BatchNorm after a convolution adds its bias where the convolution has none, and does nothing
    else. Other BatchNorm is computed as ever.

    Yields:
        The layers that were applied, for `fold_batch_norm`; filled while networks are traced.
    """
    layers: Layers = {}

    def intercept(
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        module = context.module
        if context.method_name != "__call__" or not isinstance(module, BatchNorm):
            return function(*args, **kwargs)
        layer = module.parent
        if not isinstance(layer, ConvBlock | ConvNormAct):
            return function(*args, **kwargs)
        inner = ("conv",) if isinstance(layer, ConvBlock) else ()
        axis = -2 if layer.transposed else -1
        layers[layer.path] = (*layer.path, *inner), axis, module.epsilon
        if isinstance(layer, ConvBlock) or layer.bias:
            return args[0]
        return args[0] + module.get_variable("params", "bias").astype(args[0].dtype)

    with nn.intercept_methods(intercept):
        yield layers


def check_layers(variables: Mapping[str, Tree], layers: Layers) -> None:
    """Checks that every layer has the variables of its BatchNorm, which may be shapes.

    Raises:
        LookupError: one is missing.
        ValueError: one has not the convolution's number of channels.
    """
    params = traverse_util.flatten_dict(dict(variables["params"]))
    statistics = traverse_util.flatten_dict(dict(variables.get("batch_stats", {})))
    for path, (convolution, axis, _) in layers.items():
        channels = params[*convolution, "kernel"].shape[axis]
        for values, names in ((params, ("scale", "bias")), (statistics, ("mean", "var"))):
            for name in names:
                if values[*path, "norm", name].shape != (channels,):
                    shape = values[*path, "norm", name].shape
                    where = "/".join((*path, "norm", name))
                    raise ValueError(f"{where} has shape {shape}, not {(channels,)}")


def fold_batch_norm(variables: Mapping[str, Tree], layers: Layers) -> dict[str, Tree]:
    """Folds the running statistics, scales and biases of BatchNorm into convolutions.

    Args:
        variables: {"params": ..., "batch_stats": ...}, NumPy arrays.
        layers: of the network, from `skip_batch_norm`.

    Returns:
        Variables of equal structure, for use inside `skip_batch_norm` only: there they give what
        the original ones give outside, to rounding.
    """
    params = traverse_util.flatten_dict(dict(variables["params"]))
    statistics = traverse_util.flatten_dict(dict(variables.get("batch_stats", {})))
    for path, (convolution, axis, epsilon) in layers.items():
        norm = (*path, "norm")
        # In double precision, since the product is rounded once here and not in every batch.
        mean, var = (np.float64(statistics[*norm, name]) for name in ("mean", "var"))
        scale, shift = (np.float64(params[*norm, name]) for name in ("scale", "bias"))
        factor = scale / np.sqrt(var + epsilon)
        shift = shift - mean * factor
        kernel = params[*convolution, "kernel"]
        along = factor if axis == -1 else factor[:, None]
        # Without an array of doubles, whose pages cost more than the products.
        folded = np.empty_like(kernel)
        np.multiply(kernel, along, out=folded, dtype=np.float64, casting="same_kind")
        params[*convolution, "kernel"] = folded
        bias = params.get((*convolution, "bias"))
        if bias is not None:
            params[*convolution, "bias"] = (bias * factor + shift).astype(bias.dtype)
        else:
            params[*norm, "bias"] = shift.astype(kernel.dtype)
    return {**variables, "params": traverse_util.unflatten_dict(params)}
