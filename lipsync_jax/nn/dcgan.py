"""Blocks of the GANs that follow Radford et al. 2016 ("DCGAN"): normal initialisation, BatchNorm.

Frames of clips of different lengths form one batch; batch statistics cover the valid frames only.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from lipsync_jax.nn.batch_norm import BatchNorm
from lipsync_jax.nn.conv import conv_transpose, convolve
from lipsync_jax.nn.gradient_sums import multiply
from lipsync_jax.nn.gru import split_time
from lipsync_jax.nn.params import DeclaredShapes
from lipsync_jax.nn.remat import apply_block
from lipsync_jax.ops.dtypes import at_least_float32
from lipsync_jax.types import Argument

WEIGHT_INIT = nn.initializers.normal(0.02)
# Variable collection of the outputs that depend on the reference image alone, for reuse.
REFERENCE_CACHE = "reference"


def leaky_relu(x: jax.Array) -> jax.Array:
    """Computes max(x, 0.2 x)."""
    return nn.leaky_relu(x, 0.2)


def identity(x: jax.Array) -> jax.Array:
    """Returns x: no activation."""
    return x


def _scale_init(
    key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
) -> jax.Array:
    return 1 + WEIGHT_INIT(key, shape, dtype)


class DCGANBlock(DeclaredShapes):
    """A linear layer, BatchNorm, an activation.

    Attributes:
        features: output channels.
        kernel: size along each axis of space: (length,) for audio, (height, width) for images,
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
        x: Float[Array, "n ... inputs"],
        train: bool,
        mask: Bool[Array, " n"] | None = None,
        reference: Float[Array, "clips ... more"] | None = None,
    ) -> Float[Array, "n ... features"]:
        """Applies the layer.

        Args:
            x: (n, ..., channels).
            train: whether BatchNorm uses and updates statistics of the batch.
            mask: bool (n,), False for items that must not enter the statistics.
            reference: (clips, ..., more channels), appended to the channels of x and shared by the
                n / clips successive items of a clip; its contribution is computed once per clip.

        Returns:
            (n, ..., features).
        """

        def apply(block: DCGANBlock, *inputs: jax.Array) -> jax.Array:
            return block._apply(train, *inputs)

        return apply_block(apply, self, x, mask, reference)

    def _apply(
        self, train: bool, x: jax.Array, mask: jax.Array | None, reference: jax.Array | None
    ) -> jax.Array:
        channels = x.shape[-1] + (0 if reference is None else reference.shape[-1])
        ends = (self.features, channels) if self.transposed else (channels, self.features)
        kernel = self.param("kernel", WEIGHT_INIT, (*self.kernel, *ends))
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        if reference is None:
            y = self._linear(x, kernel)
        else:
            axis = -1 if self.transposed else -2
            own, others = jnp.split(kernel, [x.shape[-1]], axis)
            own = self._cached("own", lambda: own)
            shared = self._cached("shared", lambda: self._linear(reference.astype(x.dtype), others))
            y = split_time(self._linear(x, own), len(x) // len(reference)) + shared[:, None]
            y = y.reshape(-1, *y.shape[2:])
        if self.bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            if self.norm and train:  # BatchNorm subtracts the bias again: its gradient is zero
                bias = lax.stop_gradient(bias)
            y = y + bias.astype(y.dtype)
        if self.norm:
            y = BatchNorm(_scale_init, dtype=self.dtype, name="norm")(y, train, mask)
        return self.activation(y)

    def _cached(self, name: str, compute: Callable[[], jax.Array]) -> jax.Array:
        """Returns the value stored in REFERENCE_CACHE, else computes (and stores) the value."""
        if self.has_variable(REFERENCE_CACHE, name):
            return self.get_variable(REFERENCE_CACHE, name)
        value = compute()
        if self.is_mutable_collection(REFERENCE_CACHE) and not self.is_initializing():
            self.put_variable(REFERENCE_CACHE, name, value)
        return value

    def _linear(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        """Computes a convolution; a matrix product where the output is a single position."""
        space = x.shape[1:-1]
        if self.transposed:
            return conv_transpose(x, kernel, (self.strides,) * 2, (self.padding,) * 2)
        if self.padding == 0 and space == self.kernel:
            y = multiply(x.reshape(len(x), -1), kernel.reshape(-1, self.features))
            return y.reshape(len(x), *[1] * len(space), self.features)
        strides, pads = (self.strides,) * len(space), ((self.padding, self.padding),) * len(space)
        return convolve(x, kernel, strides, pads)


def discriminator_head(
    x: Float[Array, "n inputs"], hidden: int | None, dtype: DTypeLike | None = None
) -> Float[Array, " n"]:
    """Computes the last layers of a discriminator; called within its compact method.

    Args:
        x: (n, features).
        hidden: size of the layer before the last; None omits that layer.
        dtype: of the computation.

    Returns:
        float32 (n,), logits.
    """
    options: dict[str, Argument] = {"bias": True, "norm": False, "dtype": dtype}
    if hidden is not None:
        x = DCGANBlock(hidden, **options, activation=leaky_relu, name="hidden")(x, False)
    logits = DCGANBlock(1, **options, activation=identity, name="logits")(x, False)
    return at_least_float32(logits)[:, 0]
