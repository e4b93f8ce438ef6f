"""Convolution blocks of the Wav2Lip family; NHWC, explicit symmetric padding."""

import functools
import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from lipsync_jax.nn import gradient_sums
from lipsync_jax.nn.batch_norm import BatchNorm
from lipsync_jax.nn.conv3d import conv3d, conv_transpose3d
from lipsync_jax.nn.cpu import conv as cpu_conv
from lipsync_jax.nn.cpu import use_cpu_kernels
from lipsync_jax.nn.cpu.conv_transpose import conv_transpose as cpu_conv_transpose
from lipsync_jax.nn.gradient_sums import axes, sums_in_float32
from lipsync_jax.nn.params import DeclaredShapes
from lipsync_jax.nn.remat import apply_block
from lipsync_jax.types import Argument

Size = int | tuple[int, int]
Pads = tuple[tuple[int, int], ...]


def pair(size: Size) -> tuple[int, int]:
    """Returns (vertical, horizontal); one number stands for both axes."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def stack_frames(
    frames: Float[Array, "n time height width colours"],
) -> Float[Array, "n height width time*colours"]:
    """Reshapes (n, time, height, width, colours) to (n, height, width, time * colours).

    A 3-D convolution that spans all frames is a 2-D one over channel colours * frame + colour.
    """
    n, time, height, width, colours = frames.shape
    return frames.transpose(0, 2, 3, 1, 4).reshape(n, height, width, time * colours)


def uniform_fan_in(fan_in: int) -> Callable[..., jax.Array]:
    """Returns PyTorch's default initialiser, U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
    bound = 1 / math.sqrt(fan_in)

    def init(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def conv(
    features: int, kernel: Size, strides: Size, padding: Size, in_features: int, **options: Argument
) -> nn.Conv:
    """Returns an `nn.Conv` with symmetric padding and PyTorch's default initialisation.

    Args:
        features: output channels.
        kernel: size.
        strides: of the output.
        padding: zeros added on both sides of each axis.
        in_features: input channels, for the initialisation.
        **options: further fields of nn.Conv, e.g. `name`, `dtype`.
    """
    init = uniform_fan_in(math.prod(pair(kernel)) * in_features)
    return Conv(
        features,
        pair(kernel),
        pair(strides),
        [(p, p) for p in pair(padding)],
        kernel_init=init,
        bias_init=init,
        conv_general_dilated=_convolve_for_flax,
        **options,
    )


class Conv(DeclaredShapes, nn.Conv):
    """`nn.Conv`, traced faster."""


def _promote_with_constant_bias(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, **options: Argument
) -> list[jax.Array]:
    """Promotes dtypes as flax does; the bias has no gradient."""
    return nn.dtypes.promote_dtype(x, kernel, lax.stop_gradient(bias), **options)


def _convolve_for_flax(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    **_: Argument,
) -> jax.Array:
    return convolve(x, kernel, tuple(strides), tuple(padding))


def convolve(
    x: Float[Array, "n *sizes inputs"],
    kernel: Float[Array, "*taps inputs outputs"],
    strides: tuple[int, ...],
    pads: Pads,
) -> Float[Array, "n *new outputs"]:
    """Computes a strided convolution over one, two or three axes.

    Args:
        x: (n, *sizes, inputs).
        kernel: (*kernel sizes, inputs, outputs).
        strides: of the output, per axis.
        pads: zeros added before and after each axis.

    Returns:
        (n, *new sizes, outputs).

    Raises:
        ValueError: a clip is shorter than the kernel.
    """
    if x.ndim == 5:
        frames = x.shape[1] + sum(pads[0])
        if frames < len(kernel):
            raise ValueError(
                f"a kernel of {len(kernel)} frames does not fit {frames} (padding included)"
            )
        on_clips: Argument = conv3d  # sizes have one entry an axis
        return on_clips(x, kernel, strides, pads, convolve)
    if use_cpu_kernels():
        return cpu_conv.convolve(x, kernel, strides, pads)
    return gradient_sums.convolve(x, kernel, strides, pads)


def conv_transpose(
    x: Float[Array, "n *sizes inputs"],
    kernel: Float[Array, "*taps outputs inputs"],
    strides: tuple[int, ...],
    padding: tuple[int, ...],
    output_padding: tuple[int, ...] | None = None,
) -> Float[Array, "n *new outputs"]:
    """Computes a transposed convolution: the transpose of a strided one with the same kernel.

    Args:
        x: (n, *sizes, inputs), of images or of clips (time, height, width).
        kernel: (*kernel sizes, outputs, inputs), as the strided convolution from `outputs` to
            `inputs` channels has it.
        strides: per axis.
        padding: zeros the strided convolution adds on both sides of each axis.
        output_padding: frames, rows, columns added at the end of each axis, fewer than `strides`;
            None: none.

    Returns:
        (n, (size - 1) * stride - 2 * padding + kernel size + output_padding, ..., outputs).
    """
    extra = output_padding or (0,) * len(strides)
    if x.ndim == 5:
        on_clips: Argument = conv_transpose3d  # sizes have one entry an axis
        return on_clips(x, kernel, strides, padding, extra, conv_transpose)
    if use_cpu_kernels():
        on_cpu: Argument = cpu_conv_transpose
        return on_cpu(x, kernel, strides, padding, extra)
    return _conv_transpose(x, kernel, strides, padding, extra)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _conv_transpose(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, ...],
    padding: tuple[int, ...],
    extra: tuple[int, ...],
) -> jax.Array:
    """Computes `conv_transpose` of images as XLA's convolution of dilated images.

    The custom derivative is that of the strided convolution, which libraries for GPUs have; JAX's
    own would convolve the dilated image for the kernel's gradient.
    """
    space = range(len(strides))
    pads = [
        (k - 1 - p, k - 1 - p + more)
        for k, p, more in zip(kernel.shape, padding, extra, strict=False)
    ]
    return lax.conv_general_dilated(
        x,
        lax.rev(kernel, space).swapaxes(-1, -2),
        (1,) * len(strides),
        pads,
        lhs_dilation=strides,
        dimension_numbers=axes(x),
    )


def _conv_transpose_forward(
    x: jax.Array, kernel: jax.Array, *options: tuple[int, ...]
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _conv_transpose(x, kernel, *options), (x, kernel)


def _conv_transpose_backward(
    strides: tuple[int, ...],
    padding: tuple[int, ...],
    extra: tuple[int, ...],
    residuals: tuple[jax.Array, jax.Array],
    gradient: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    pads = tuple((p, p - more) for p, more in zip(padding, extra, strict=True))

    def strided(kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            gradient, kernel, strides, pads, dimension_numbers=axes(gradient)
        )

    grad_x, kernel_vjp = jax.vjp(strided, kernel)
    if sums_in_float32(kernel):
        return grad_x, gradient_sums.kernel_gradient(gradient, x, kernel, strides, pads)
    return grad_x, kernel_vjp(x)[0]


_conv_transpose.defvjp(_conv_transpose_forward, _conv_transpose_backward)


class ConvTranspose(DeclaredShapes):
    """A transposed convolution with bias, PyTorch's sizes and default initialisation.

    Attributes:
        features: output channels.
        kernel: size.
        strides: upsampling factors.
        padding: rows and columns cut from both sides of each axis.
        output_padding: rows and columns added at the bottom and right.
        dtype: of the computation; None follows inputs and parameters.
        promote_dtype: of image, kernel and bias.
    """

    features: int
    kernel: Size
    strides: Size = 1
    padding: Size = 0
    output_padding: Size = 0
    dtype: DTypeLike | None = None
    promote_dtype: Callable[..., list[jax.Array]] = nn.dtypes.promote_dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (n, height, width, channels) to (n, new height, new width, features)."""
        size = pair(self.kernel)
        init = uniform_fan_in(math.prod(size) * self.features)
        kernel = self.param("kernel", init, (*size, self.features, x.shape[-1]))
        bias = self.param("bias", init, (self.features,))
        x, kernel, bias = self.promote_dtype(x, kernel, bias, dtype=self.dtype)
        options = pair(self.strides), pair(self.padding), pair(self.output_padding)
        return conv_transpose(x, kernel, *options) + bias


class ConvBlock(nn.Module):
    """(Transposed) convolution, BatchNorm, residual sum, activation, in this order.

    Attributes:
        features: output channels; those of the input where `residual`.
        kernel: size.
        strides: of the output, 1 where `residual`; upsampling factors where `transposed`.
        padding: zeros on both sides of each axis; cut off where `transposed`.
        residual: whether the input is added after the normalisation.
        transposed: whether the convolution is a ConvTranspose.
        output_padding: rows and columns that `transposed` adds at the bottom and right.
        norm: whether BatchNorm follows the convolution.
        norm_momentum: of its running statistics.
        activation: applied last; None: no activation.
        dtype: of the computation; None follows inputs and parameters. Batch statistics are never
            taken below float32.
    """

    features: int
    kernel: Size = 3
    strides: Size = 1
    padding: Size = 1
    residual: bool = False
    transposed: bool = False
    output_padding: Size = 0
    norm: bool = True
    norm_momentum: float = 0.9
    activation: Callable[[jax.Array], jax.Array] | None = nn.relu
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n height width c"], train: bool = False
    ) -> Float[Array, "n new_height new_width features"]:
        """Maps (n, height, width, channels) to (n, new height, new width, features)."""
        return apply_block(lambda block, x: block._apply(x, train), self, x)

    def _apply(self, x: jax.Array, train: bool) -> jax.Array:
        shape = self.features, self.kernel, self.strides, self.padding
        fields: dict[str, Argument] = {"dtype": self.dtype, "name": "conv"}
        if self.norm and train:
            # The mean that BatchNorm subtracts has the bias too: its gradient is zero, and as
            # rounding errors would cost a sum over devices and a random walk of the bias.
            fields["promote_dtype"] = _promote_with_constant_bias
        if self.transposed:
            y = ConvTranspose(*shape, self.output_padding, **fields)(x)
        else:
            y = conv(*shape, x.shape[-1], **fields)(x)
        if self.norm:
            y = BatchNorm(momentum=self.norm_momentum, dtype=self.dtype, name="norm")(y, train)
        y = y + x if self.residual else y
        return y if self.activation is None else self.activation(y)
