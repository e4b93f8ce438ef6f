"""Networks of the speech-driven temporal GANs of Vougioukas et al., 2018 and 2020.

Images are RGB in [-1, 1], (height, width) = (128, 96) as published, or other multiples of 32.
Audio is raw, full scale 1, one window a frame (`data.audio_windows`). `width_mult` multiplies the
channels of layers of images. Masks are bool (n, time), False where a clip is padded after its end:
padding enters neither batch statistics nor recurrent states.

2018: windows of 0.16 s, identity 50, FrameDiscriminator, SequenceDiscriminator. 2020: windows of
0.2 s, identity 128, FrameDiscriminator, MotionDiscriminator, SyncDiscriminator. The generator's
layers are those of the published inference code. The discriminators were never published: depths
and inputs are those of the papers, widths and kernels are chosen here.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from lipsync_jax.methods.common.recurrent_generator import RecurrentGenerator
from lipsync_jax.methods.common.sequence_discriminator import (
    SequenceDiscriminator as BaseSequenceDiscriminator,
)
from lipsync_jax.nn.conv import stack_frames
from lipsync_jax.nn.dcgan import DCGANBlock, discriminator_head, identity
from lipsync_jax.nn.gru import GRU, merge_time, split_time
from lipsync_jax.nn.shape_checks import check_shape
from lipsync_jax.nn.unet import (
    NUM_DOWNSAMPLES,
    FrameDecoder,
    ImageEncoder,
    bottleneck_size,
    channels,
)
from lipsync_jax.nn.waveform_encoder import WaveformEncoder
from lipsync_jax.ops.dtypes import at_least_float32
from lipsync_jax.types import Argument

SYNC_WINDOW = 5  # frames in an input of the sync discriminator


class Generator(RecurrentGenerator):
    """The generator of both papers; defaults are those of 2018 for audio at 16 kHz.

    Attributes:
        audio_rate: samples a second.
        audio_samples: length of a window.
        audio_encoder_channels: channels of the audio encoder's first convolution.
    """

    audio_rate: int = 16_000
    audio_samples: int = 2560
    audio_encoder_channels: int = 16

    def setup(self) -> None:
        """Defines the submodules."""
        super().setup()
        self.audio_encoder = WaveformEncoder(
            self.audio_size,
            self.audio_rate,
            self.audio_samples,
            self.audio_encoder_channels,
            dtype=self.dtype,
        )
        self.decoder = Decoder(self.width_mult, self.image_size, self.dtype)


class Decoder(FrameDecoder):
    """A U-Net decoder with the second to fifth skip of the encoder."""

    def upsample_stages(
        self, x: jax.Array, skips: tuple[jax.Array, ...], train: bool, mask: jax.Array | None
    ) -> jax.Array:
        """See FrameDecoder."""
        sizes = channels(self.width_mult)
        for i in range(NUM_DOWNSAMPLES - 1, 0, -1):
            x = self.fuse_skip(sizes[i], transposed=True, name=f"fuse_{i}")(
                x, train, mask, skips[i]
            )
            x = self.upsample(sizes[i - 1], name=f"up_{i}")(x, train, mask)
        return x


class FrameDiscriminator(nn.Module):
    """Classifies single frames, conditioned on the reference image (2018, section 3.2).

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
        both = jnp.concatenate([frames, reference], axis=-1)
        encoder = ImageEncoder(
            1,
            activation=identity,
            width_mult=self.width_mult,
            dtype=self.dtype,
            name="image_encoder",
        )
        return at_least_float32(encoder(both, train))[:, 0]


class SequenceDiscriminator(BaseSequenceDiscriminator):
    """Classifies whole clips with their audio, at the last valid frame (2018, section 3.2).

    Attributes:
        audio_rate: samples a second.
        audio_samples: length of a window.
        audio_encoder_channels: channels of the audio encoder's first convolution.
    """

    audio_rate: int = 16_000
    audio_samples: int = 2560
    audio_encoder_channels: int = 16

    def make_audio_encoder(self, name: str) -> nn.Module:
        """See the base class."""
        return WaveformEncoder(
            self.audio_size,
            self.audio_rate,
            self.audio_samples,
            self.audio_encoder_channels,
            dtype=self.dtype,
            name=name,
        )

    def classify(self, last: jax.Array, states: jax.Array, lengths: jax.Array) -> jax.Array:
        """See the base class."""
        return discriminator_head(last, self.hidden_size // 2, self.dtype)


class MotionDiscriminator(nn.Module):
    """Classifies the motion of whole clips without their audio (2020).

    The first convolution spans three frames.

    Attributes:
        frame_size: size of the embedding of three successive frames.
        hidden_size: size of the recurrent state.
        width_mult: multiplies the channels of layers of images.
        dtype: of the computation; None follows inputs and parameters.
    """

    frame_size: int = 128
    hidden_size: int = 256
    width_mult: float = 1.0
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        frames: Float[Array, "n time height width 3"],
        mask: Bool[Array, "n time"] | None = None,
        train: bool = False,
    ) -> Float[Array, " n"]:
        """Classifies clips; arguments and result are those of SequenceDiscriminator."""
        if mask is not None:
            frames = jnp.where(mask[..., None, None, None], frames, 0)
        # A convolution over space and time equals one over space of neighbouring frames as
        # channels, and XLA runs only the latter fast.
        padded = jnp.pad(frames, [(0, 0), (1, 1)] + [(0, 0)] * 3)
        triplets = jnp.concatenate([padded[:, :-2], frames, padded[:, 2:]], axis=-1)
        image_code = ImageEncoder(
            self.frame_size,
            32,
            first_norm=True,
            width_mult=self.width_mult,
            dtype=self.dtype,
            name="image_encoder",
        )(merge_time(triplets), train, merge_time(mask))
        image_code = split_time(image_code, frames.shape[1])
        states, _ = GRU(self.hidden_size, 1, self.dtype, name="context")(image_code, mask=mask)
        return discriminator_head(states[-1], None, self.dtype)


class SyncDiscriminator(nn.Module):
    """Classifies whether five frames of the mouth match their audio (2020).

    Attributes:
        audio_rate: samples a second.
        audio_samples: length of the audio of five frames.
        audio_encoder_channels: channels of the audio encoder's first convolution.
        embedding_size: of the frames and of the audio.
        width_mult: multiplies the channels of layers of images.
        dtype: of the computation; None follows inputs and parameters.
    """

    audio_rate: int = 16_000
    audio_samples: int = 3200
    audio_encoder_channels: int = 16
    embedding_size: int = 256
    width_mult: float = 1.0
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        frames: Float[Array, "n 5 half_height width 3"],
        audio: Float[Array, "n samples"],
        train: bool = False,
    ) -> Float[Array, " n"]:
        """Classifies inputs as real or generated.

        Args:
            frames: (n, 5, height / 2, width, 3), lower halves, RGB in [-1, 1].
            audio: (n, audio_samples), the audio of these five frames.
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            float32 (n,), logits of being real and in sync.
        """
        check_shape(self, "frames", frames, None, SYNC_WINDOW, None, None, 3)
        size = bottleneck_size((2 * frames.shape[2], frames.shape[3]))
        x = stack_frames(frames)  # the first convolution spans all five
        for i, features in enumerate(channels(self.width_mult)[:-1]):
            block = DCGANBlock(
                features, (4, 4), 2, 1, bias=i == 0, dtype=self.dtype, name=f"conv_{i}"
            )
            x = block(x, train)
        last_kwargs: dict[str, Argument]
        last_kwargs = {"norm": False, "bias": True, "activation": identity, "dtype": self.dtype}
        last = DCGANBlock(self.embedding_size, (size[0], 2 * size[1]), **last_kwargs, name="conv_4")
        image_code = last(x, train)[:, 0, 0]
        audio_code = WaveformEncoder(
            self.embedding_size,
            self.audio_rate,
            self.audio_samples,
            self.audio_encoder_channels,
            tanh_output=False,
            dtype=self.dtype,
            name="audio_encoder",
        )(audio, train)
        return discriminator_head(jnp.square(image_code - audio_code), None, self.dtype)
