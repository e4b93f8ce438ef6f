"""BatchNorm with a derivative of its own."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike


def _sum(x: jax.Array) -> jax.Array:
    """Sum over all axes but the last."""

    def by_product(x: jax.Array) -> jax.Array:
        # XLA's CPU backend adds up columns several times slower than it multiplies matrices.
        return jnp.einsum("nm,mc->nc", jnp.ones((1, len(x)), x.dtype), x, precision="highest")[0]

    flat = x.reshape(-1, x.shape[-1])
    return lax.platform_dependent(flat, cpu=by_product, default=lambda x: jnp.sum(x, axis=0))


def _valid(x: jax.Array, mask: jax.Array | None) -> jax.Array:
    """X with zeros for the items that do not count."""
    return x if mask is None else jnp.where(_beside(mask, x), x, 0)


def _beside(mask: jax.Array, x: jax.Array) -> jax.Array:
    return mask.reshape(-1, *[1] * (x.ndim - 1))


def _count(x: jax.Array, mask: jax.Array | None) -> jax.Array | int:
    items = len(x) if mask is None else jnp.sum(mask)
    return items * (x.size // len(x) // x.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def normalise(
    x: jax.Array, scale: jax.Array, bias: jax.Array, mask: jax.Array | None, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Channels to mean 0 and variance 1 over all other axes, then scale and bias.

    Its own derivative (Ioffe and Szegedy 2015, section 3) needs two sums, a third of the work of
    the one that JAX would derive. None is taken of the returned statistics.

    Args:
        x: (n, ..., channels), float32 or wider.
        scale: (channels,).
        bias: (channels,).
        mask: bool (n,), False for items that enter no statistic; None takes all.
        epsilon: added to the variance.

    Returns:
        x normalised; its mean and its biased variance (channels,).
    """
    return _normalise_forward(x, scale, bias, mask, epsilon)[0]


def _normalise_forward(
    x: jax.Array, scale: jax.Array, bias: jax.Array, mask: jax.Array | None, epsilon: float
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], tuple]:
    count = _count(x, mask)
    mean = _sum(_valid(x, mask)) / count
    # The fast variance E[x^2] - E[x]^2 cancels badly where a channel hardly varies.
    var = _sum(_valid((x - mean) ** 2, mask)) / count
    inverse = lax.rsqrt(var + epsilon)
    return ((x - mean) * (inverse * scale) + bias, mean, var), (x, scale, mask, mean, inverse)


def _normalise_backward(
    epsilon: float, residuals: tuple, gradients: tuple[jax.Array, jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    x, scale, mask, mean, inverse = residuals
    gradient, count = gradients[0], _count(x, mask)
    of_bias = _sum(gradient)
    of_scale = _sum(gradient * (x - mean)) * inverse
    through_statistics = of_bias / count + (x - mean) * (inverse * of_scale / count)
    of_x = (gradient - _valid(through_statistics, mask)) * (inverse * scale)
    return of_x, of_scale, of_bias, None


normalise.defvjp(_normalise_forward, _normalise_backward)


class BatchNorm(nn.Module):
    """BatchNorm over the global batch with the published constants (PyTorch's defaults).

    Running variances are of the biased estimate, where PyTorch keeps the unbiased one; that
    matters only when comparing training steps. Variables are named as those of nn.BatchNorm.

    Attributes:
        scale_init: initialiser of the scale.
        momentum: share of the running statistics that a training step keeps.
        epsilon: added to variances.
        dtype: of the result; None follows the input. Statistics are never below float32.
    """

    scale_init: Callable[..., jax.Array] = nn.initializers.ones
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """(n, ..., channels) -> the same shape, by statistics of the batch if `train`.

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
        y, *found = normalise(x.astype(wide), scale, bias, mask, self.epsilon)
        if not self.is_initializing() and self.is_mutable_collection("batch_stats"):
            for running, new in zip((mean, var), found, strict=True):
                running.value = self.momentum * running.value + (1 - self.momentum) * new
        return y.astype(dtype)
