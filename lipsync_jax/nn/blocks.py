"""Convolutions of images and clips with BatchNorm and activation, listed as tables of rows."""

import math
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from lipsync_jax.nn.batch_norm import BatchNorm
from lipsync_jax.nn.conv import conv_transpose, convolve
from lipsync_jax.nn.gradient_sums import multiply
from lipsync_jax.nn.params import DeclaredShapes
from lipsync_jax.nn.remat import apply_block
from lipsync_jax.types import Argument

Sizes = int | tuple[int, ...]
Initializer = Callable[..., jax.Array]


def he_normal(fan_in: int) -> Initializer:
    """Returns the initialiser N(0, sqrt(2 / fan_in)) (He et al. 2015, eq. 10)."""
    return nn.initializers.normal(math.sqrt(2 / fan_in))


class ConvNormAct(DeclaredShapes):
    """Applies padding, a (transposed) convolution, BatchNorm, an activation.

    Attributes:
        features: output channels.
        kernel: size along each axis: (height, width) of images, (time, height, width) of clips.
        strides: of each axis or all; upsampling factors where `transposed`.
        padding: zeros the (untransposed) convolution adds on both sides of each axis or of all;
            "SAME" makes the output 1 / stride of the input, as TensorFlow pads.
        output_padding: frames, rows, columns that `transposed` adds at the end of each axis.
        transposed: whether it is the transposed convolution.
        padding_mode: values beyond the borders: zeros, the image mirrored, or its border pixels.
        bias: whether the convolution has one.
        norm: whether BatchNorm follows.
        activation: applied last; None: no activation.
        epsilon: BatchNorm's.
        momentum: BatchNorm's.
        kernel_init: fan-in (inputs of an output where not transposed) -> the kernel's initialiser.
        dtype: of the computation; None follows inputs and parameters. Batch statistics are never
            taken below float32.
    """

    features: int
    kernel: tuple[int, ...]
    strides: Sizes = 1
    padding: Sizes | Literal["SAME"] = 0
    output_padding: Sizes = 0
    transposed: bool = False
    padding_mode: Literal["zeros", "reflect", "edge"] = "zeros"
    bias: bool = False
    norm: bool = True
    activation: Callable[[jax.Array], jax.Array] | None = nn.relu
    epsilon: float = 1e-5
    momentum: float = 0.9
    kernel_init: Callable[[int], Initializer] = he_normal
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n ... inputs"], train: bool
    ) -> Float[Array, "n ... features"]:
        """Maps (n, ..., channels) to (n, ..., features)."""
        return apply_block(lambda block, x: block._apply(x, train), self, x)

    def _apply(self, x: jax.Array, train: bool) -> jax.Array:
        channels = x.shape[-1]
        ends = (self.features, channels) if self.transposed else (channels, self.features)
        initializer = self.kernel_init(math.prod(self.kernel) * channels)
        kernel = self.param("kernel", initializer, (*self.kernel, *ends))
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        y = self._convolve(x, kernel)
        if self.bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            if self.norm and train:  # BatchNorm subtracts the bias again: its gradient is zero
                bias = lax.stop_gradient(bias)
            y = y + bias.astype(y.dtype)
        if self.norm:
            norm = BatchNorm(  # its scale starts from 1: deviation G15
                momentum=self.momentum, epsilon=self.epsilon, dtype=self.dtype, name="norm"
            )
            y = norm(y, train)
        return y if self.activation is None else self.activation(y)

    def _convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        rank = len(self.kernel)
        strides = _per_axis(self.strides, rank)
        if self.padding == "SAME":
            return self._convolve_same(x, kernel, strides)
        padding = _per_axis(self.padding, rank)
        if self.transposed:
            extra = _per_axis(self.output_padding, rank)
            return conv_transpose(x, kernel, strides, padding, extra)
        if self.padding_mode != "zeros":
            x = jnp.pad(x, [(0, 0), *((p, p) for p in padding), (0, 0)], mode=self.padding_mode)
            padding = (0,) * rank
        if x.shape[1:-1] == self.kernel and not any(padding):
            y = multiply(x.reshape(x.shape[0], -1), kernel.reshape(-1, self.features))
            return y.reshape(x.shape[0], *[1] * rank, self.features)
        return convolve(x, kernel, strides, tuple((p, p) for p in padding))

    def _convolve_same(self, x: jax.Array, kernel: jax.Array, strides: tuple) -> jax.Array:
        """Convolves images with TensorFlow's sizes: odd padding has its larger part at the end."""
        if self.transposed:
            # The transposed convolution pads max(k - stride, 0) in all, the smaller part first.
            totals = [max(k - s, 0) for k, s in zip(self.kernel, strides, strict=True)]
            before = tuple(total // 2 for total in totals)
            extra = tuple(
                s - k + 2 * p for k, s, p in zip(self.kernel, strides, before, strict=True)
            )
            return conv_transpose(x, kernel, strides, before, extra)
        pads = lax.padtype_to_pads(x.shape[1:-1], self.kernel, strides, "SAME")
        return convolve(x, kernel, strides, tuple(pads))


class TableModule(nn.Module):
    """Base class of the networks that are written as tables of rows.

    Attributes:
        width_mult: multiplies the channels.
        dtype: of the computation; None follows inputs and parameters.
        min_channels: lower bound of the channels of a scaled layer.
    """

    width_mult: float = 1.0
    dtype: DTypeLike | None = None
    min_channels: ClassVar[int] = 4

    def channels(self, features: int) -> int:
        """Returns the channels of a layer with `features` channels in the table."""
        return max(self.min_channels, round(features * self.width_mult))

    def conv_block(
        self, features: int, kernel: Sizes, *args: Argument, **options: Argument
    ) -> ConvNormAct:
        """Returns a layer; arguments are the fields of ConvNormAct, features those at width_mult 1.

        A kernel given as one number is square, of images.
        """
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        fields = {"dtype": self.dtype, **options}
        return ConvNormAct(self.channels(features), size, *args, **fields)

    def head(
        self, features: int, kernel: Sizes, *args: Argument, **options: Argument
    ) -> ConvNormAct:
        """Returns an output layer: unscaled features, a bias, neither norm nor activation."""
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        fields = {
            "bias": True,
            "norm": False,
            "activation": None,
            "dtype": self.dtype,
            **options,
        }
        return ConvNormAct(features, size, *args, **fields)

    def conv_stack(
        self, x: jax.Array, rows: Sequence[tuple], train: bool, name: str, **options: Argument
    ) -> jax.Array:
        """Applies layers name_0, name_1, ... of rows (features, kernel, strides, padding)."""
        for i, row in enumerate(rows):
            x = self.conv_block(*row, name=f"{name}_{i}", **options)(x, train)
        return x


def _per_axis(size: Sizes, rank: int) -> tuple[int, ...]:
    return (size,) * rank if isinstance(size, int) else tuple(size)
