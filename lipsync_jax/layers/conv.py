"""Convolution blocks of the Wav2Lip family; NHWC, explicit symmetric padding."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

Size = int | tuple[int, int]
DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def pair(size: Size) -> tuple[int, int]:
    """One number stands for both axes, as (vertical, horizontal)."""
    return (size, size) if isinstance(size, int) else tuple(size)


def uniform_fan_in(fan_in: int):
    """PyTorch's default initialiser of weights and biases, U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
    bound = 1 / math.sqrt(fan_in)

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def conv(features: int, kernel: Size, strides: Size, padding: Size, inputs: int, **options):
    """An `nn.Conv` with symmetric padding and PyTorch's default initialisation.

    Args:
        features: output channels.
        kernel: size.
        strides: of the output.
        padding: zeros added on both sides of each axis.
        inputs: input channels, which the initialisation needs.
        **options: further fields of nn.Conv, e.g. `name`, `dtype`.
    """
    init = uniform_fan_in(math.prod(pair(kernel)) * inputs)
    return nn.Conv(
        features,
        pair(kernel),
        pair(strides),
        [(p, p) for p in pair(padding)],
        kernel_init=init,
        bias_init=init,
        **options,
    )


def batch_norm(train: bool, **options):
    """Flax's own BatchNorm with the constants of `BatchNorm`, for networks that pass masks."""
    return nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, use_fast_variance=False, **options)


def _sum(x: jax.Array) -> jax.Array:
    """Sum over all axes but the last."""

    def by_product(x):
        # XLA's CPU backend adds up columns several times slower than it multiplies matrices.
        return jnp.einsum("nm,mc->nc", jnp.ones((1, len(x)), x.dtype), x, precision="highest")[0]

    flat = x.reshape(-1, x.shape[-1])
    return lax.platform_dependent(flat, cpu=by_product, default=lambda x: x.sum(axis=0))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Channels to mean 0 and variance 1 over all other axes, then scale and bias.

    Its own derivative (Ioffe and Szegedy 2015, section 3) needs two sums, a third of the work of
    the one that JAX would derive. None is taken of the returned statistics.

    Args:
        x: (..., channels), float32 or wider.
        scale: (channels,).
        bias: (channels,).
        epsilon: added to the variance.

    Returns:
        x normalised; its mean and its biased variance (channels,).
    """
    return _normalise_forward(x, scale, bias, epsilon)[0]


def _normalise_forward(x, scale, bias, epsilon):
    count = x.size // x.shape[-1]
    mean = _sum(x) / count
    # The fast variance E[x^2] - E[x]^2 cancels badly where a channel hardly varies.
    var = _sum((x - mean) ** 2) / count
    inverse = lax.rsqrt(var + epsilon)
    return ((x - mean) * (inverse * scale) + bias, mean, var), (x, scale, mean, inverse)


def _normalise_backward(epsilon, residuals, gradients):
    x, scale, mean, inverse = residuals
    gradient, count = gradients[0], x.size // x.shape[-1]
    of_bias = _sum(gradient)
    of_scale = _sum(gradient * (x - mean)) * inverse
    centred = gradient - of_bias / count - (x - mean) * (inverse * of_scale / count)
    return centred * (inverse * scale), of_scale, of_bias


normalise.defvjp(_normalise_forward, _normalise_backward)


class BatchNorm(nn.Module):
    """BatchNorm over the global batch with the published constants (PyTorch's defaults).

    Running variances are of the biased estimate, where PyTorch keeps the unbiased one; that
    matters only when comparing training steps. Variables are named as those of nn.BatchNorm.

    Attributes:
        momentum: share of the running statistics that a training step keeps.
        epsilon: added to variances.
        dtype: of the result; None follows the input. Statistics are never below float32.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(..., channels) -> the same shape, by statistics of the batch if `train`."""
        shape = (x.shape[-1],)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        dtype = self.dtype or jnp.result_type(x, scale)
        if not train:
            factor = scale * lax.rsqrt(var.value + self.epsilon)
            return ((x - mean.value) * factor + bias).astype(dtype)
        y, *found = normalise(x.astype(wide), scale, bias, self.epsilon)
        if not self.is_initializing() and self.is_mutable_collection("batch_stats"):
            for running, new in zip((mean, var), found, strict=True):
                running.value = self.momentum * running.value + (1 - self.momentum) * new
        return y.astype(dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def conv_transpose(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, int],
    padding: tuple[int, int],
    output_padding: tuple[int, int] = (0, 0),
) -> jax.Array:
    """Transposed convolution: the transpose of a strided convolution with the same kernel.

    Its own derivative: XLA's CPU backend runs the kernel gradient that it would derive from a
    dilated convolution some fifty times slower than that of the strided convolution.

    Args:
        x: (n, height, width, inputs).
        kernel: (kernel height, kernel width, outputs, inputs), as the strided convolution from
            `outputs` to `inputs` channels has it.
        strides: per axis.
        padding: zeros the strided convolution adds on both sides of each axis.
        output_padding: rows and columns added at the bottom and right, fewer than `strides`.

    Returns:
        (n, (height - 1) * stride - 2 * padding + kernel height + output_padding, ..., outputs).
    """
    kernel_size = kernel.shape[:2]
    pads = [
        (k - 1 - p, k - 1 - p + extra)
        for k, p, extra in zip(kernel_size, padding, output_padding, strict=True)
    ]
    flipped = lax.rev(kernel, (0, 1)).swapaxes(2, 3)
    return lax.conv_general_dilated(
        x, flipped, (1, 1), pads, lhs_dilation=strides, dimension_numbers=DIMENSIONS
    )


def _conv_transpose_forward(x, kernel, strides, padding, output_padding):
    return conv_transpose(x, kernel, strides, padding, output_padding), (x, kernel)


def _conv_transpose_backward(strides, padding, output_padding, residuals, gradient):
    x, kernel = residuals
    pads = [(p, p - extra) for p, extra in zip(padding, output_padding, strict=True)]

    def strided(kernel):
        return lax.conv_general_dilated(
            gradient, kernel, strides, pads, dimension_numbers=DIMENSIONS
        )

    of_x, pull = jax.vjp(strided, kernel)
    return of_x, *pull(x)


conv_transpose.defvjp(_conv_transpose_forward, _conv_transpose_backward)


class ConvTranspose(nn.Module):
    """Transposed convolution with bias, PyTorch's sizes and default initialisation.

    Attributes:
        features: output channels.
        kernel: size.
        strides: upsampling factors.
        padding: rows and columns cut from both sides of each axis.
        output_padding: rows and columns added at the bottom and right.
        dtype: of the computation; None follows inputs and parameters.
    """

    features: int
    kernel: Size
    strides: Size = 1
    padding: Size = 0
    output_padding: Size = 0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, height, width, channels) -> (n, new height, new width, features)."""
        size = pair(self.kernel)
        init = uniform_fan_in(math.prod(size) * self.features)
        kernel = self.param("kernel", init, (*size, self.features, x.shape[-1]))
        bias = self.param("bias", init, (self.features,))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        options = pair(self.strides), pair(self.padding), pair(self.output_padding)
        return conv_transpose(x, kernel, *options) + bias


class ConvBlock(nn.Module):
    """Convolution, BatchNorm, residual sum, ReLU, in this order.

    Attributes:
        features: output channels; those of the input where `residual`.
        kernel: size.
        strides: of the output; 1 where `residual`.
        padding: zeros on both sides of each axis.
        residual: whether the input is added after the normalisation.
        activation: whether a ReLU follows.
        dtype: of the computation; None follows inputs and parameters. Batch statistics are never
            taken below float32.
    """

    features: int
    kernel: Size = 3
    strides: Size = 1
    padding: Size = 1
    residual: bool = False
    activation: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(n, height, width, channels) -> (n, new height, new width, features)."""
        y = conv(
            self.features,
            self.kernel,
            self.strides,
            self.padding,
            x.shape[-1],
            dtype=self.dtype,
            name="conv",
        )(x)
        y = BatchNorm(dtype=self.dtype, name="norm")(y, train)
        y = y + x if self.residual else y
        return nn.relu(y) if self.activation else y


class ConvTransposeBlock(nn.Module):
    """Transposed convolution, BatchNorm, ReLU; fields as ConvTranspose has them."""

    features: int
    kernel: Size = 3
    strides: Size = 2
    padding: Size = 1
    output_padding: Size = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(n, height, width, channels) -> (n, new height, new width, features)."""
        x = ConvTranspose(
            self.features,
            self.kernel,
            self.strides,
            self.padding,
            self.output_padding,
            dtype=self.dtype,
            name="conv",
        )(x)
        return nn.relu(BatchNorm(dtype=self.dtype, name="norm")(x, train))


class LeakyConvBlock(nn.Module):
    """Convolution and leaky ReLU, without normalisation; fields as ConvBlock has them.

    Attributes:
        slope: of the negative side.
    """

    features: int
    kernel: Size = 3
    strides: Size = 1
    padding: Size = 1
    slope: float = 0.01
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, height, width, channels) -> (n, new height, new width, features)."""
        x = conv(
            self.features,
            self.kernel,
            self.strides,
            self.padding,
            x.shape[-1],
            dtype=self.dtype,
            name="conv",
        )(x)
        return nn.leaky_relu(x, self.slope)
