"""The U-Net of the temporal GANs: encoders with five halvings, and the decoder of frames.

Images are RGB in [-1, 1], (height, width) = (128, 96) as published, or other multiples of 32.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from lipsync_jax.nn.dcgan import DCGANBlock, leaky_relu
from lipsync_jax.nn.shape_checks import check_shape
from lipsync_jax.ops.dtypes import at_least_float32
from lipsync_jax.types import Argument

NUM_DOWNSAMPLES = 5


class EncodedImage(NamedTuple):
    """The code and the feature maps of an image.

    Attributes:
        code: (n, features), within (-1, 1).
        skips: five feature maps (n, height / 2, width / 2, c), ...,
            (n, height / 32, width / 32, 16 c).
    """

    code: jax.Array
    skips: tuple[jax.Array, ...]


def channels(width_mult: float, features: int = 64) -> list[int]:
    """Returns the channels of five feature maps, each twice as many as the one before.

    Args:
        width_mult: multiplies all channels.
        features: channels of the first map at width_mult 1.
    """
    return [max(1, round(features * width_mult)) << i for i in range(NUM_DOWNSAMPLES)]


def bottleneck_size(image_size: tuple[int, int]) -> tuple[int, int]:
    """Returns height and width of an image after five halvings.

    Raises:
        ValueError: a side is no multiple of 32.
    """
    height, width = image_size
    if min(image_size) < 32 or height % 32 or width % 32:
        raise ValueError(
            f"image_size={height}x{width} (height x width): both must be multiples of 32, "
            "e.g. 128x96"
        )
    return height >> NUM_DOWNSAMPLES, width >> NUM_DOWNSAMPLES


class IdentityEncoder(nn.Module):
    """Encodes an image as a code and feature maps: six convolutions (Vougioukas et al. 2018).

    The layers are those of the published code.

    Attributes:
        features: size of the code.
        width_mult: multiplies all channels but the code's.
        image_size: height and width of images.
        dtype: of the computation; None follows inputs and parameters.
    """

    features: int
    width_mult: float = 1.0
    image_size: tuple[int, int] = (128, 96)
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, image: Float[Array, "n height width 3"], train: bool) -> EncodedImage:
        """Maps (n, height, width, 3) to EncodedImage."""
        check_shape(self, "image", image, None, *self.image_size, 3)
        size, x, skips = bottleneck_size(self.image_size), image, []
        for i, features in enumerate(channels(self.width_mult)):
            x = DCGANBlock(features, (4, 4), 2, 1, dtype=self.dtype, name=f"conv_{i}")(x, train)
            skips.append(x)
        code = DCGANBlock(
            self.features, size, norm=False, activation=jnp.tanh, dtype=self.dtype, name="code"
        )
        return EncodedImage(code(x, train)[:, 0, 0], tuple(skips))


class FrameDecoder(nn.Module):
    """Decodes latents to frames: a smallest map and five doublings, with skip connections.

    The papers differ in where the skips of the reference image enter: see `upsample_stages`.

    Attributes:
        width_mult: multiplies all channels.
        image_size: height and width of frames.
        dtype: of the computation; None follows inputs and parameters.
    """

    width_mult: float = 1.0
    image_size: tuple[int, int] = (128, 96)
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        latents: Float[Array, "frames features"],
        skips: tuple[jax.Array, ...],
        train: bool,
        mask: Bool[Array, " frames"] | None = None,
    ) -> Float[Array, "frames height width 3"]:
        """Decodes frames.

        Args:
            latents: (n * time, features).
            skips: of the n reference images, see EncodedImage.
            train: whether BatchNorm uses and updates statistics of the batch.
            mask: bool (n * time,).

        Returns:
            float32 (n * time, height, width, 3).
        """
        size, deepest = bottleneck_size(self.image_size), channels(self.width_mult)[-1]
        start = DCGANBlock(deepest, size, transposed=True, dtype=self.dtype, name="start")
        x = self.upsample_stages(start(latents[:, None, None], train, mask), skips, train, mask)
        last = self.upsample(3, norm=False, activation=jnp.tanh, name="output")
        return at_least_float32(last(x, train))

    def upsample_stages(
        self, x: jax.Array, skips: tuple[jax.Array, ...], train: bool, mask: jax.Array | None
    ) -> jax.Array:
        """Upsamples the smallest map to half the size of a frame; arguments as of a call."""
        raise NotImplementedError

    def upsample(self, features: int, **options: Argument) -> DCGANBlock:
        """Returns a layer that doubles height and width."""
        return DCGANBlock(features, (4, 4), 2, 1, transposed=True, dtype=self.dtype, **options)

    def fuse_skip(self, features: int, **options: Argument) -> DCGANBlock:
        """Returns a layer whose input a skip of the reference image may be appended to."""
        return DCGANBlock(features, (3, 3), 1, 1, dtype=self.dtype, **options)


class ImageEncoder(nn.Module):
    """Encodes images in discriminators: five strided convolutions and one over what remains.

    Attributes:
        features: outputs.
        base_channels: channels of the first feature map at width_mult 1.
        activation: of the outputs.
        first_norm: whether BatchNorm follows the first convolution too.
        width_mult: multiplies the channels of the feature maps.
        dtype: of the computation; None follows inputs and parameters.
    """

    features: int
    base_channels: int = 64
    activation: Callable[[jax.Array], jax.Array] = jnp.tanh
    first_norm: bool = False
    width_mult: float = 1.0
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "n height width c"],
        train: bool,
        mask: Bool[Array, " n"] | None = None,
    ) -> Float[Array, "n features"]:
        """Maps (n, height, width, channels) and a mask (n,) to (n, features)."""
        size = bottleneck_size((x.shape[1], x.shape[2]))
        for i, features in enumerate(channels(self.width_mult, self.base_channels)):
            norm = i > 0 or self.first_norm
            block = DCGANBlock(
                features,
                (4, 4),
                2,
                1,
                norm=norm,
                activation=leaky_relu,
                dtype=self.dtype,
                name=f"conv_{i}",
            )
            x = block(x, train, mask)
        last = DCGANBlock(
            self.features,
            size,
            bias=True,
            norm=False,
            activation=self.activation,
            dtype=self.dtype,
            name=f"conv_{NUM_DOWNSAMPLES}",
        )
        return last(x, train)[:, 0, 0]
