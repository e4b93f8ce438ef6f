"""BatchNorm with a custom derivative."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from lipsync_jax.nn.cpu import use_cpu_kernels
from lipsync_jax.nn.cpu.sums import sum_rows
from lipsync_jax.nn.params import DeclaredShapes

# JAX traces anew where the value changes.
_groups = jax.make_user_context(1)


@contextlib.contextmanager
def statistics_of_groups(groups: int) -> Iterator[None]:
    """Within this context, each of `groups` equal parts of a batch has statistics of its own.

    With one part a device, no device waits for the sums of the others. Running statistics are means
    over the parts.
    """
    with _groups(groups):
        yield


def _sum(x: jax.Array) -> jax.Array:
    """Sums over all axes but the last; over devices, XLA makes one sum of independent ones.

    XLA's compiler for TPUs would store a stack of several arrays, and the operands of a variadic
    reduction: at least 2.5 times the memory traffic.
    """
    rows = x.reshape(-1, x.shape[-1])
    return sum_rows(rows) if use_cpu_kernels() else jnp.sum(rows, axis=0)


def _zero_masked(x: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Returns x with zeros for the items that the mask excludes."""
    return x if mask is None else jnp.where(_broadcast_mask(mask, x), x, 0)


def _broadcast_mask(mask: jax.Array, x: jax.Array) -> jax.Array:
    return mask.reshape(-1, *[1] * (x.ndim - 1))


def _count(x: jax.Array, mask: jax.Array | None) -> jax.Array | int:
    items = len(x) if mask is None else jnp.maximum(jnp.sum(mask), 1)
    return items * (x.size // len(x) // x.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def batch_normalize(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    mask: jax.Array | None,
    center: jax.Array,
    epsilon: float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalises channels to mean 0 and variance 1 over all other axes, then scales and shifts.

    The custom derivative (Ioffe and Szegedy 2015, section 3) needs two sums, a third of the work of
    the derivative that JAX would compute. The returned statistics have no derivative.

    Args:
        x: (n, ..., channels), float32 or wider.
        scale: (channels,).
        bias: (channels,).
        mask: bool (n,), False for items that enter no statistic; None: all items enter.
        center: (channels,), near the mean. Subtracted before the squares are summed where both sums
            are taken at once, off the CPU; without influence up to rounding.
        epsilon: added to the variance.

    Returns:
        The normalised x; the mean and the biased variance (channels,).
    """
    return _batch_normalize_forward(x, scale, bias, mask, center, epsilon)[0]


def _batch_normalize_forward(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    mask: jax.Array | None,
    center: jax.Array,
    epsilon: float,
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], tuple]:
    count = _count(x, mask)
    if use_cpu_kernels():
        mean = _sum(_zero_masked(x, mask)) / count
        # The fast variance E[x^2] - E[x]^2 cancels badly where a channel hardly varies.
        var = _sum(_zero_masked((x - mean) ** 2, mask)) / count
    else:
        # The second sum need not wait for the first one, and both are one sum over devices.
        off = _zero_masked(x - center, mask)
        offset, square = _sum(off) / count, _sum(off**2) / count
        mean, var = center + offset, jnp.maximum(square - offset**2, 0)
    inverse = lax.rsqrt(var + epsilon)
    return ((x - mean) * (inverse * scale) + bias, mean, var), (x, scale, mask, mean, inverse)


def _batch_normalize_backward(
    epsilon: float, residuals: tuple, gradients: tuple[jax.Array, jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array, jax.Array, None, None]:
    x, scale, mask, mean, inverse = residuals
    gradient, count = gradients[0], _count(x, mask)
    grad_bias, weighted = _sum(gradient), _sum(gradient * (x - mean))
    grad_scale = weighted * inverse
    through_statistics = grad_bias / count + (x - mean) * (inverse * grad_scale / count)
    grad_x = (gradient - _zero_masked(through_statistics, mask)) * (inverse * scale)
    return grad_x, grad_scale, grad_bias, None, None


batch_normalize.defvjp(_batch_normalize_forward, _batch_normalize_backward)


def _normalize_groups(
    groups: int, x: jax.Array, mask: jax.Array | None, *arguments: Any
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Computes `batch_normalize` of each part of a batch; returns means of the statistics."""
    if len(x) % groups:
        raise ValueError(
            f"a batch of {len(x)} can't be normalized in {groups} equal parts; set "
            "--config.batch_statistics=global"
        )
    scale, bias, center, epsilon = arguments
    parts = x.reshape(groups, -1, *x.shape[1:])
    masks = None if mask is None else mask.reshape(groups, -1)
    y, mean, var = jax.vmap(lambda x, mask: batch_normalize(x, scale, bias, mask, center, epsilon))(
        parts, masks
    )
    items = jnp.ones(groups) if masks is None else masks.sum(axis=1)
    shares = (items / jnp.maximum(items.sum(), 1)).astype(mean.dtype)
    return y.reshape(x.shape), shares @ mean, shares @ var


class BatchNorm(DeclaredShapes):
    """BatchNorm with the published constants (PyTorch's defaults).

    Statistics are those of the global batch, see `statistics_of_groups` for others.

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
        x, groups = x.astype(wide), 1 if self.is_initializing() else _groups.value
        if groups == 1:
            y, *statistics = batch_normalize(x, scale, bias, mask, mean.value, self.epsilon)
        else:
            y, *statistics = _normalize_groups(
                groups, x, mask, scale, bias, mean.value, self.epsilon
            )
        if not self.is_initializing() and self.is_mutable_collection("batch_stats"):
            for running, new in zip((mean, var), statistics, strict=True):
                running.value = self.momentum * running.value + (1 - self.momentum) * new
        return y.astype(dtype)
