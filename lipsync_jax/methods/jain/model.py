"""Networks of the temporal GAN of Jain, Alvares, Andrades, Dsouza and Solanki, which hears MFCCs.

The still's encoder and the recurrent generator are those of Vougioukas et al. 2018; the sound
encoder's sizes are those of Speech2Vid (Chung et al. 2017), on which the text builds. What the text
leaves open (kernels and widths of discriminators, levels of the pyramid) is ours.

Pictures are RGB in [-1, 1], (height, width) = (128, 96) or other multiples of 32. Sound is a window
of 35 MFCC steps of 12 coefficients a frame (`data.audio_windows.mfcc_windows`). `width` multiplies
the channels of pictures. Masks are bool (n, time), False where a clip was padded behind its end.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from lipsync_jax.methods.common.recurrent_generator import RecurrentGenerator
from lipsync_jax.nn.dcgan import Block, classify, leaky_relu
from lipsync_jax.nn.gru import GRU, fold_time, unfold_time
from lipsync_jax.nn.shape_checks import check
from lipsync_jax.nn.unet import HALVINGS, FrameDecoder, PictureCritic, channels

STEPS, COEFFICIENTS = 35, 12
PYRAMID = (1, 2, 4)

# Features of the sound encoder's convolutions; None is a max pool.
SOUND = (64, 128, None, 256, 256, 256, None)
# (strides, rows padded on top) of the two pools of 3 x 3 over coefficients and steps.
POOLS = (((1, 2), 1), ((2, 2), 0))
JUDGES = (32, 64, 128, 256)


class SoundEncoder(nn.Module):
    """A window of MFCCs -> an embedding: five convolutions, two dense layers.

    Attributes:
        features: size of the embedding.
        width: multiplies the channels of the other layers.
        dtype: of the computation; None follows inputs and parameters.
    """

    features: int = 256
    width: float = 1.0
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """(n, 35 steps, 12 coefficients) and a mask (n,) -> (n, features)."""
        check(self, "sound", x, None, STEPS, COEFFICIENTS)
        block = functools.partial(Block, bias=True, dtype=self.dtype)
        x, pools = x.swapaxes(1, 2)[..., None], iter(POOLS)
        for i, features in enumerate(SOUND):
            if features is None:
                strides, top = next(pools)
                x = nn.max_pool(x, (3, 3), strides, ((top, 0), (0, 0)))
            else:
                x = block(self._scale(features), (3, 3), padding=1, name=f"conv_{i}")(
                    x, train, mask
                )
        x = block(self._scale(512), x.shape[1:3], name="dense_0")(x, train, mask)
        return block(self.features, (1, 1), name="dense_1")(x, train, mask)[:, 0, 0]

    def _scale(self, features: int) -> int:
        return max(1, round(features * self.width))


class Generator(RecurrentGenerator):
    """The generator; two recurrent layers for the noise.

    Attributes:
        audio_width: multiplies the channels of the sound encoder.
    """

    noise_layers: int = 2
    audio_width: float = 1.0

    def setup(self) -> None:
        """Names the parts, which can be run alone."""
        super().setup()
        self.audio_encoder = SoundEncoder(self.audio_size, self.audio_width, self.dtype)
        self.decoder = Decoder(self.width, self.image_size, self.dtype)


class Decoder(FrameDecoder):
    """Six transposed convolutions, four convolutions between them.

    A map of the still's encoder, the fourth to the first, joins before each convolution.
    """

    def between(
        self, x: jax.Array, maps: tuple[jax.Array, ...], train: bool, mask: jax.Array | None
    ) -> jax.Array:
        """See FrameDecoder."""
        sizes = channels(self.width)
        for i in range(HALVINGS - 2, -1, -1):
            x = self.double(sizes[i], name=f"up_{i}")(x, train, mask)
            x = self.join(sizes[i], name=f"join_{i}")(x, train, mask, maps[i])
        return x


class FrameDiscriminator(nn.Module):
    """Judges single frames beside the still: four convolutions, each with a pool, two dense layers.

    Attributes:
        width: multiplies all channels.
        dtype: of the computation; None follows inputs and parameters.
    """

    width: float = 1.0
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, frames: jax.Array, still: jax.Array, train: bool = False) -> jax.Array:
        """Judges.

        Args:
            frames: (n, height, width, 3), RGB in [-1, 1].
            still: of the same shape.
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            float32 (n,), logits of being real.
        """
        x = jnp.concatenate([frames, still], axis=-1)
        for i, features in enumerate(JUDGES):
            block = Block(
                max(1, round(features * self.width)),
                (3, 3),
                padding=1,
                bias=True,
                norm=i > 0,
                activation=leaky_relu,
                dtype=self.dtype,
                name=f"conv_{i}",
            )
            x = nn.max_pool(block(x, train), (2, 2), (2, 2))
        return classify(x.reshape(len(x), -1), max(1, round(512 * self.width)), self.dtype)


class SequenceDiscriminator(nn.Module):
    """Judges a clip of any length with its sound, by pyramid pooling over time.

    Attributes:
        audio_size: size of the embedding of a window of sound.
        audio_width: multiplies the channels of the sound encoder.
        frame_size: size of the embedding of a frame.
        hidden_size: size of the recurrent states and of the classifier's first layer.
        width: multiplies the channels of pictures.
        dtype: of the computation; None follows inputs and parameters.
    """

    audio_size: int = 256
    audio_width: float = 1.0
    frame_size: int = 128
    hidden_size: int = 256
    width: float = 1.0
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        frames: jax.Array,
        audio: jax.Array,
        mask: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Judges.

        Args:
            frames: (n, time, height, width, 3), RGB in [-1, 1].
            audio: (n, time, 35, 12), as the generator hears it.
            mask: bool (n, time), False for padding, which comes last.
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            float32 (n,), logits of being real.
        """
        seen = PictureCritic(
            self.frame_size, 32, width=self.width, dtype=self.dtype, name="pictures"
        )(fold_time(frames), train, fold_time(mask))
        heard = SoundEncoder(self.audio_size, self.audio_width, self.dtype, name="audio_encoder")(
            fold_time(audio), train, fold_time(mask)
        )
        both = unfold_time(jnp.concatenate([seen, heard], axis=-1), frames.shape[1])
        _, states = GRU(self.hidden_size, 2, self.dtype, name="context")(both, mask=mask)
        lengths = jnp.full(len(both), frames.shape[1]) if mask is None else mask.sum(axis=1)
        return classify(pyramid_pool(states, lengths), self.hidden_size, self.dtype)


def pyramid_pool(x: jax.Array, lengths: jax.Array, levels: tuple[int, ...] = PYRAMID) -> jax.Array:
    """Spatial pyramid pooling (He et al. 2014) over time: maxima over parts of a clip.

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
