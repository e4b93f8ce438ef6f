"""Networks of the temporal GAN of Jain, Alvares, Andrades, Dsouza and Solanki, with MFCC input.

The identity encoder and the recurrent generator are those of Vougioukas et al. 2018; the sizes of
the audio encoder are those of Speech2Vid (Chung et al. 2017), which the text builds on. What the
text leaves open (kernels and widths of discriminators, levels of the pyramid) is chosen here.

Images are RGB in [-1, 1], (height, width) = (128, 96) or other multiples of 32. Audio is a window
of 35 MFCC steps of 12 coefficients a frame (`data.audio_windows.mfcc_windows`). `width_mult`
multiplies the channels of layers of images. Masks are bool (n, time), False where a clip is padded
after its end.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from lipsync_jax.methods.common.recurrent_generator import RecurrentGenerator
from lipsync_jax.methods.common.sequence_discriminator import (
    SequenceDiscriminator as BaseSequenceDiscriminator,
)
from lipsync_jax.nn.dcgan import DCGANBlock, discriminator_head, leaky_relu
from lipsync_jax.nn.shape_checks import check_shape
from lipsync_jax.nn.unet import NUM_DOWNSAMPLES, FrameDecoder, channels

MFCC_STEPS, MFCC_COEFFICIENTS = 35, 12
PYRAMID_LEVELS = (1, 2, 4)

# Channels of the audio encoder's convolutions; None is a max pool.
AUDIO_ENCODER = (64, 128, None, 256, 256, 256, None)
# (strides, rows padded on top) of the two pools of 3 x 3 over coefficients and steps.
POOLS = (((1, 2), 1), ((2, 2), 0))
DISCRIMINATOR_CHANNELS = (32, 64, 128, 256)


class MFCCEncoder(nn.Module):
    """Encodes a window of MFCCs: five convolutions, two dense layers.

    Attributes:
        features: size of the embedding.
        width_mult: multiplies the channels of the other layers.
        dtype: of the computation; None follows inputs and parameters.
    """

    features: int = 256
    width_mult: float = 1.0
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "n 35 12"], train: bool, mask: Bool[Array, " n"] | None = None
    ) -> Float[Array, "n features"]:
        """Maps (n, 35 steps, 12 coefficients) and a mask (n,) to (n, features)."""
        check_shape(self, "audio", x, None, MFCC_STEPS, MFCC_COEFFICIENTS)
        block = functools.partial(DCGANBlock, bias=True, dtype=self.dtype)
        x, pools = x.swapaxes(1, 2)[..., None], iter(POOLS)
        for i, features in enumerate(AUDIO_ENCODER):
            if features is None:
                strides, top = next(pools)
                pads = [(0, 0), (top, 0), (0, 0), (0, 0)]
                x = jnp.pad(x, pads, constant_values=-jnp.inf)
                x = nn.max_pool(x, window_shape=(3, 3), strides=strides)
            else:
                x = block(self._channels(features), (3, 3), padding=1, name=f"conv_{i}")(
                    x, train, mask
                )
        x = block(self._channels(512), x.shape[1:3], name="dense_0")(x, train, mask)
        return block(self.features, (1, 1), name="dense_1")(x, train, mask)[:, 0, 0]

    def _channels(self, features: int) -> int:
        return max(1, round(features * self.width_mult))


class Generator(RecurrentGenerator):
    """The generator.

    Attributes:
        noise_layers: recurrent layers of the noise.
        audio_width_mult: multiplies the channels of the audio encoder.
    """

    noise_layers: int = 2
    audio_width_mult: float = 1.0

    def setup(self) -> None:
        """Defines the submodules."""
        super().setup()
        self.audio_encoder = MFCCEncoder(self.audio_size, self.audio_width_mult, self.dtype)
        self.decoder = Decoder(self.width_mult, self.image_size, self.dtype)


class Decoder(FrameDecoder):
    """Six transposed convolutions, four convolutions between them.

    A skip of the reference image, the fourth to the first, is appended before each convolution.
    """

    def upsample_stages(
        self, x: jax.Array, skips: tuple[jax.Array, ...], train: bool, mask: jax.Array | None
    ) -> jax.Array:
        """See FrameDecoder."""
        sizes = channels(self.width_mult)
        for i in range(NUM_DOWNSAMPLES - 2, -1, -1):
            x = self.upsample(sizes[i], name=f"up_{i}")(x, train, mask)
            x = self.fuse_skip(sizes[i], name=f"fuse_{i}")(x, train, mask, skips[i])
        return x


class FrameDiscriminator(nn.Module):
    """Classifies single frames, conditioned on the reference image.

    Four convolutions, each with a pool, and two dense layers.

    Attributes:
        width_mult: multiplies all channels.
        dtype: of the computation; None follows inputs and parameters.
    """

    width_mult: float = 1.0
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        frames: Float[Array, "n height width 3"],
        reference: Float[Array, "n height width 3"],
        train: bool = False,
    ) -> Float[Array, " n"]:
        """Classifies inputs as real or generated.

        Args:
            frames: (n, height, width, 3), RGB in [-1, 1].
            reference: of the same shape.
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            float32 (n,), logits of being real.
        """
        x = jnp.concatenate([frames, reference], axis=-1)
        for i, features in enumerate(DISCRIMINATOR_CHANNELS):
            block = DCGANBlock(
                max(1, round(features * self.width_mult)),
                (3, 3),
                padding=1,
                bias=True,
                norm=i > 0,
                activation=leaky_relu,
                dtype=self.dtype,
                name=f"conv_{i}",
            )
            x = nn.max_pool(block(x, train), (2, 2), (2, 2))
        return discriminator_head(
            x.reshape(len(x), -1), max(1, round(512 * self.width_mult)), self.dtype
        )


class SequenceDiscriminator(BaseSequenceDiscriminator):
    """Classifies clips of any length with their MFCCs, by pyramid pooling over time.

    Attributes:
        audio_width_mult: multiplies the channels of the audio encoder.
    """

    audio_width_mult: float = 1.0

    def make_audio_encoder(self, name: str) -> nn.Module:
        """See the base class."""
        return MFCCEncoder(self.audio_size, self.audio_width_mult, self.dtype, name=name)

    def classify(self, last: jax.Array, states: jax.Array, lengths: jax.Array) -> jax.Array:
        """See the base class."""
        return discriminator_head(pyramid_pool(states, lengths), self.hidden_size, self.dtype)


def pyramid_pool(
    x: Float[Array, "n time features"],
    lengths: Int[Array, " n"],
    levels: tuple[int, ...] = PYRAMID_LEVELS,
) -> Float[Array, "n pooled"]:
    """Computes spatial pyramid pooling (He et al. 2014) over time: maxima over parts of a clip.

    Bin i of a level of n bins covers the steps from floor(i T / n) up to ceil((i + 1) T / n), where
    T is the clip's own length; bins overlap where n does not divide T.

    Args:
        x: (n, time, features).
        lengths: integers (n,), valid steps, at least 1.
        levels: bins of each level.

    Returns:
        (n, sum(levels) * features), level by level.
    """
    step, length = jnp.arange(x.shape[1]), lengths[:, None]
    bins = []
    for level in levels:
        for i in range(level):
            inside = (step >= i * length // level) & (step < -(-(i + 1) * length // level))
            bins.append(jnp.max(jnp.where(inside[..., None], x, -jnp.inf), axis=1))
    return jnp.concatenate(bins, axis=-1)
