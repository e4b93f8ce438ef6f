"""Networks of the speech-driven temporal GANs: Vougioukas et al. 2018 and their successor of 2020.

Pictures are RGB in [-1, 1], (height, width) = (128, 96) as published, or other multiples of 32.
Sound is raw, full scale 1, one window a frame (`data.audio_windows`). `width` multiplies the
channels of pictures. Masks are bool (n, time), False where a clip was padded behind its end: such
frames enter neither batch statistics nor recurrent states.

2018: windows of 0.16 s, identity 50, FrameDiscriminator, SequenceDiscriminator. 2020: windows of
0.2 s, identity 128, FrameDiscriminator, MotionDiscriminator, SyncDiscriminator. The generator's
layers are those of the published inference code. Discriminators were never published: depths and
inputs are the papers', widths and kernels ours.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from lipsync_jax.methods.common.recurrent_generator import RecurrentGenerator
from lipsync_jax.nn.conv import stack_frames
from lipsync_jax.nn.dcgan import Block, classify, float32, linear
from lipsync_jax.nn.gru import GRU, fold_time, unfold_time
from lipsync_jax.nn.shape_checks import check
from lipsync_jax.nn.unet import HALVINGS, FrameDecoder, PictureCritic, channels, smallest_map
from lipsync_jax.nn.waveform_encoder import AudioEncoder
from lipsync_jax.types import Argument

SNIPPET = 5  # frames that the synchronisation discriminator looks at


class Generator(RecurrentGenerator):
    """The generator of both papers; defaults are those of 2018 for sound at 16 kHz.

    Attributes:
        audio_rate: samples a second.
        audio_samples: length of a window.
        audio_features: channels of the sound encoder's first convolution.
    """

    audio_rate: int = 16_000
    audio_samples: int = 2560
    audio_features: int = 16

    def setup(self) -> None:
        """Names the parts, which can be run alone."""
        super().setup()
        self.audio_encoder = AudioEncoder(
            self.audio_size,
            self.audio_rate,
            self.audio_samples,
            self.audio_features,
            dtype=self.dtype,
        )
        self.decoder = Decoder(self.width, self.image_size, self.dtype)


class Decoder(FrameDecoder):
    """A U-Net with the encoder's second to fifth map."""

    def between(
        self, x: jax.Array, maps: tuple[jax.Array, ...], train: bool, mask: jax.Array | None
    ) -> jax.Array:
        """See FrameDecoder."""
        sizes = channels(self.width)
        for i in range(HALVINGS - 1, 0, -1):
            x = self.join(sizes[i], transposed=True, name=f"join_{i}")(x, train, mask, maps[i])
            x = self.double(sizes[i - 1], name=f"up_{i}")(x, train, mask)
        return x


class FrameDiscriminator(nn.Module):
    """Judges single frames beside the still they should resemble (2018, section 3.2).

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
        both = jnp.concatenate([frames, still], axis=-1)
        critic = PictureCritic(
            1, activation=linear, width=self.width, dtype=self.dtype, name="pictures"
        )
        return float32(critic(both, train))[:, 0]


class SequenceDiscriminator(nn.Module):
    """Judges a whole clip with its sound, at the last valid frame (2018, section 3.2).

    Attributes:
        audio_rate: samples a second.
        audio_samples: length of a window.
        audio_features: channels of the sound encoder's first convolution.
        audio_size: size of the embedding of a window of sound.
        frame_size: size of the embedding of a frame.
        hidden_size: size of the recurrent states.
        width: multiplies the channels of pictures.
        dtype: of the computation; None follows inputs and parameters.
    """

    audio_rate: int = 16_000
    audio_samples: int = 2560
    audio_features: int = 16
    audio_size: int = 256
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
            audio: (n, time, audio_samples), as the generator hears it.
            mask: bool (n, time), False for padding.
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            float32 (n,), logits of being real.
        """
        seen = PictureCritic(
            self.frame_size, 32, width=self.width, dtype=self.dtype, name="pictures"
        )(fold_time(frames), train, fold_time(mask))
        heard = AudioEncoder(
            self.audio_size,
            self.audio_rate,
            self.audio_samples,
            self.audio_features,
            dtype=self.dtype,
            name="audio_encoder",
        )(fold_time(audio), train, fold_time(mask))
        both = unfold_time(jnp.concatenate([seen, heard], axis=-1), frames.shape[1])
        states, _ = GRU(self.hidden_size, 2, self.dtype, name="context")(both, mask=mask)
        return classify(states[-1], self.hidden_size // 2, self.dtype)


class MotionDiscriminator(nn.Module):
    """Judges the motion of a whole clip without its sound (2020).

    The first convolution spans three frames.

    Attributes:
        frame_size: size of the embedding of a moment.
        hidden_size: size of the recurrent state.
        width: multiplies the channels of pictures.
        dtype: of the computation; None follows inputs and parameters.
    """

    frame_size: int = 128
    hidden_size: int = 256
    width: float = 1.0
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, frames: jax.Array, mask: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """Judges; arguments and result are SequenceDiscriminator's."""
        if mask is not None:
            frames = jnp.where(mask[..., None, None, None], frames, 0)
        # A convolution over space and time is one over space of neighbours side by side, and XLA
        # runs only the latter fast.
        around = jnp.pad(frames, [(0, 0), (1, 1)] + [(0, 0)] * 3)
        moments = jnp.concatenate([around[:, :-2], frames, around[:, 2:]], axis=-1)
        seen = PictureCritic(
            self.frame_size,
            32,
            first_norm=True,
            width=self.width,
            dtype=self.dtype,
            name="pictures",
        )(fold_time(moments), train, fold_time(mask))
        seen = unfold_time(seen, frames.shape[1])
        states, _ = GRU(self.hidden_size, 1, self.dtype, name="context")(seen, mask=mask)
        return classify(states[-1], None, self.dtype)


class SyncDiscriminator(nn.Module):
    """Judges whether the mouth of five frames fits their sound (2020).

    Attributes:
        audio_rate: samples a second.
        audio_samples: length of the sound of five frames.
        audio_features: channels of the sound encoder's first convolution.
        embedding_size: of the frames and of the sound.
        width: multiplies the channels of pictures.
        dtype: of the computation; None follows inputs and parameters.
    """

    audio_rate: int = 16_000
    audio_samples: int = 3200
    audio_features: int = 16
    embedding_size: int = 256
    width: float = 1.0
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, frames: jax.Array, audio: jax.Array, train: bool = False) -> jax.Array:
        """Judges.

        Args:
            frames: (n, 5, height / 2, width, 3), lower halves, RGB in [-1, 1].
            audio: (n, audio_samples), the sound of these five frames.
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            float32 (n,), logits of being real and in sync.
        """
        check(self, "frames", frames, None, SNIPPET, None, None, 3)
        size = smallest_map((2 * frames.shape[2], frames.shape[3]))
        x = stack_frames(frames)  # the first convolution spans all five
        for i, features in enumerate(channels(self.width)[:-1]):
            block = Block(features, (4, 4), 2, 1, bias=i == 0, dtype=self.dtype, name=f"conv_{i}")
            x = block(x, train)
        ends: dict[str, Argument]
        ends = {"norm": False, "bias": True, "activation": linear, "dtype": self.dtype}
        last = Block(self.embedding_size, (size[0], 2 * size[1]), **ends, name="conv_4")
        seen = last(x, train)[:, 0, 0]
        heard = AudioEncoder(
            self.embedding_size,
            self.audio_rate,
            self.audio_samples,
            self.audio_features,
            bounded=False,
            dtype=self.dtype,
            name="audio_encoder",
        )(audio, train)
        return classify(jnp.square(seen - heard), None, self.dtype)
