"""BatchNorm with a custom derivative."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from lipsync_jax.nn.cpu import use_cpu_kernels
from lipsync_jax.nn.cpu.sums import sum_rows


def _sum(x: jax.Array) -> jax.Array:
    """Sums over all axes but the last."""
    flat = x.reshape(-1, x.shape[-1])
    return sum_rows(flat) if use_cpu_kernels() else jnp.sum(flat, axis=0)


def _zero_masked(x: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Returns x with zeros for the items that the mask excludes."""
    return x if mask is None else jnp.where(_broadcast_mask(mask, x), x, 0)


def _broadcast_mask(mask: jax.Array, x: jax.Array) -> jax.Array:
    return mask.reshape(-1, *[1] * (x.ndim - 1))


def _count(x: jax.Array, mask: jax.Array | None) -> jax.Array | int:
    items = len(x) if mask is None else jnp.sum(mask)
    return items * (x.size // len(x) // x.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def batch_normalize(
    x: jax.Array, scale: jax.Array, bias: jax.Array, mask: jax.Array | None, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalises channels to mean 0 and variance 1 over all other axes, then scales and shifts.

    The custom derivative (Ioffe and Szegedy 2015, section 3) needs two sums, a third of the work of
    the derivative that JAX would compute. The returned statistics have no derivative.

    Args:
        x: (n, ..., channels), float32 or wider.
        scale: (channels,).
        bias: (channels,).
        mask: bool (n,), False for items that enter no statistic; None: all items enter.
        epsilon: added to the variance.

    Returns:
        The normalised x; the mean and the biased variance (channels,).
    """
    return _batch_normalize_forward(x, scale, bias, mask, epsilon)[0]


def _batch_normalize_forward(
    x: jax.Array, scale: jax.Array, bias: jax.Array, mask: jax.Array | None, epsilon: float
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], tuple]:
    count = _count(x, mask)
    mean = _sum(_zero_masked(x, mask)) / count
    # The fast variance E[x^2] - E[x]^2 cancels badly where a channel hardly varies.
    var = _sum(_zero_masked((x - mean) ** 2, mask)) / count
    inverse = lax.rsqrt(var + epsilon)
    return ((x - mean) * (inverse * scale) + bias, mean, var), (x, scale, mask, mean, inverse)


def _batch_normalize_backward(
    epsilon: float, residuals: tuple, gradients: tuple[jax.Array, jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    x, scale, mask, mean, inverse = residuals
    gradient, count = gradients[0], _count(x, mask)
    grad_bias = _sum(gradient)
    grad_scale = _sum(gradient * (x - mean)) * inverse
    through_statistics = grad_bias / count + (x - mean) * (inverse * grad_scale / count)
    grad_x = (gradient - _zero_masked(through_statistics, mask)) * (inverse * scale)
    return grad_x, grad_scale, grad_bias, None


batch_normalize.defvjp(_batch_normalize_forward, _batch_normalize_backward)


class BatchNorm(nn.Module):
    """BatchNorm over the global batch with the published constants (PyTorch's defaults).

    Running variances are of the biased estimate, where PyTorch keeps the unbiased one (deviation
    W9); this difference matters only when training steps are compared. Variables are named as those
    of nn.BatchNorm.

    Attributes:
        scale_init: initialiser of the scale.
        momentum: weight of the old running statistics in a training step.
        epsilon: added to variances.
        dtype: of the result; None follows the input. Statistics are never below float32.
    """

    scale_init: Callable[..., jax.Array] = nn.initializers.ones
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n ... c"], train: bool, mask: Bool[Array, " n"] | None = None
    ) -> Float[Array, "n ... c"]:
        """Normalises (n, ..., channels), by the statistics of the batch if `train`.

        Items at which `mask`, bool (n,), is False enter no statistic.
        """
        shape = (x.shape[-1],)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        scale = self.param("scale", self.scale_init, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        dtype = self.dtype or jnp.result_type(x, scale)
        if not train:
            factor = scale * lax.rsqrt(var.value + self.epsilon)
            return ((x - mean.value) * factor + bias).astype(dtype)
        y, *statistics = batch_normalize(x.astype(wide), scale, bias, mask, self.epsilon)
        if not self.is_initializing() and self.is_mutable_collection("batch_stats"):
            for running, new in zip((mean, var), statistics, strict=True):
                running.value = self.momentum * running.value + (1 - self.momentum) * new
        return y.astype(dtype)
