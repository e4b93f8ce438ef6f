"""Blocks of the GANs that follow Radford et al. 2016 ("DCGAN"): normal initialisation, BatchNorm.

Frames of clips of different length are one batch here: statistics are taken over the valid ones.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from lipsync_jax.nn.batch_norm import BatchNorm
from lipsync_jax.nn.conv import conv_transpose
from lipsync_jax.nn.cpu.conv_vjp import convolve
from lipsync_jax.nn.gru import unfold_time
from lipsync_jax.types import Argument

WEIGHTS = nn.initializers.normal(0.02)
STILL = "still"  # collection of what layers make of stills alone, where that is wanted for later


def leaky_relu(x: jax.Array) -> jax.Array:
    """max(x, 0.2 x)."""
    return nn.leaky_relu(x, 0.2)


def linear(x: jax.Array) -> jax.Array:
    """No activation."""
    return x


def _scales(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
    return 1 + WEIGHTS(key, shape, dtype)


class Block(nn.Module):
    """A linear layer, BatchNorm, an activation.

    Attributes:
        features: output channels.
        kernel: size along each axis of space: (length,) for sound, (height, width) for pictures,
            () for a dense layer.
        strides: of all axes; upsampling factors where `transposed`.
        padding: zeros the (untransposed) convolution adds on both sides of all axes.
        transposed: whether it is the transposed convolution.
        bias: whether the linear layer has one.
        norm: whether BatchNorm follows.
        activation: applied last.
        dtype: of the computation; None follows inputs and parameters. Batch statistics are never
            taken below float32.
    """

    features: int
    kernel: tuple[int, ...] = ()
    strides: int = 1
    padding: int = 0
    transposed: bool = False
    bias: bool = False
    norm: bool = True
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        train: bool,
        mask: jax.Array | None = None,
        still: jax.Array | None = None,
    ) -> jax.Array:
        """Runs the layer.

        Args:
            x: (n, ..., channels).
            train: whether BatchNorm uses and updates statistics of the batch.
            mask: bool (n,), False for items that must not enter the statistics.
            still: (clips, ..., more channels) as if behind the channels of x, the same for all
                n / clips successive items of a clip; its share is computed once a clip.

        Returns:
            (n, ..., features).
        """
        channels = x.shape[-1] + (0 if still is None else still.shape[-1])
        ends = (self.features, channels) if self.transposed else (channels, self.features)
        kernel = self.param("kernel", WEIGHTS, (*self.kernel, *ends))
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        if still is None:
            y = self._linear(x, kernel)
        else:
            axis = -1 if self.transposed else -2
            own, others = jnp.split(kernel, [x.shape[-1]], axis)
            own = self._kept("own", lambda: own)
            shared = self._kept("shared", lambda: self._linear(still.astype(x.dtype), others))
            y = unfold_time(self._linear(x, own), len(x) // len(still)) + shared[:, None]
            y = y.reshape(-1, *y.shape[2:])
        if self.bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(y.dtype)
        if self.norm:
            y = BatchNorm(_scales, dtype=self.dtype, name="norm")(y, train, mask)
        return self.activation(y)

    def _kept(self, name: str, make: Callable[[], jax.Array]) -> jax.Array:
        """What `make` gives, or gave when the collection STILL was mutable."""
        if self.has_variable(STILL, name):
            return self.get_variable(STILL, name)
        value = make()
        if self.is_mutable_collection(STILL) and not self.is_initializing():
            self.put_variable(STILL, name, value)
        return value

    def _linear(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        """A convolution; a matrix product where its output is a single position."""
        space = x.shape[1:-1]
        if self.transposed:
            return conv_transpose(x, kernel, (self.strides,) * 2, (self.padding,) * 2)
        if self.padding == 0 and space == self.kernel:
            y = x.reshape(len(x), -1) @ kernel.reshape(-1, self.features)
            return y.reshape(len(x), *[1] * len(space), self.features)
        strides, pads = (self.strides,) * len(space), ((self.padding, self.padding),) * len(space)
        return convolve(x, kernel, strides, pads)


def classify(x: jax.Array, hidden: int | None, dtype: DTypeLike | None = None) -> jax.Array:
    """A discriminator's last layers, to be called within its compact method.

    Args:
        x: (n, features).
        hidden: size of the layer before the last; None leaves it out.
        dtype: of the computation.

    Returns:
        float32 (n,), logits.
    """
    options: dict[str, Argument] = {"bias": True, "norm": False, "dtype": dtype}
    if hidden is not None:
        x = Block(hidden, **options, activation=leaky_relu, name="hidden")(x, False)
    return float32(Block(1, **options, activation=linear, name="verdict")(x, False))[:, 0]


def float32(x: jax.Array) -> jax.Array:
    """At least in float32."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
