"""The discriminator of whole clips with their audio, of the temporal GANs."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from lipsync_jax.nn.gru import GRU, merge_time, split_time
from lipsync_jax.nn.unet import ImageEncoder


class SequenceDiscriminator(nn.Module):
    """Base class: encodes frames and windows of audio, then runs a recurrent network over both.

    A paper adds its audio encoder and what of the recurrent states is classified.

    Attributes:
        audio_size: size of the embedding of a window of audio.
        frame_size: size of the embedding of a frame.
        hidden_size: size of the recurrent states.
        width_mult: multiplies the channels of layers of images.
        dtype: of the computation; None follows inputs and parameters.
    """

    audio_size: int = 256
    frame_size: int = 128
    hidden_size: int = 256
    width_mult: float = 1.0
    dtype: DTypeLike | None = None

    def make_audio_encoder(self, name: str) -> nn.Module:
        """Returns a network of windows of audio (n, ...), `train` and a mask (n,)."""
        raise NotImplementedError

    def classify(self, last: jax.Array, states: jax.Array, lengths: jax.Array) -> jax.Array:
        """Computes logits (n,).

        Args:
            last: (n, hidden_size), the state at the last valid frame.
            states: (n, time, hidden_size).
            lengths: (n,), valid frames.
        """
        raise NotImplementedError

    @nn.compact
    def __call__(
        self,
        frames: Float[Array, "n time height width 3"],
        audio: Float[Array, "n time ..."],
        mask: Bool[Array, "n time"] | None = None,
        train: bool = False,
    ) -> Float[Array, " n"]:
        """Classifies inputs as real or generated.

        Args:
            frames: (n, time, height, width, 3), RGB in [-1, 1].
            audio: (n, time, ...), the generator's input.
            mask: bool (n, time), False for padding, which comes last.
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            float32 (n,), logits of being real.
        """
        image_features = ImageEncoder(
            self.frame_size, 32, width_mult=self.width_mult, dtype=self.dtype, name="image_encoder"
        )(merge_time(frames), train, merge_time(mask))
        encode_audio = self.make_audio_encoder("audio_encoder")
        audio_features = encode_audio(merge_time(audio), train, merge_time(mask))
        both = split_time(
            jnp.concatenate([image_features, audio_features], axis=-1), frames.shape[1]
        )
        last, states = GRU(self.hidden_size, 2, self.dtype, name="context")(both, mask=mask)
        lengths = jnp.full(len(both), frames.shape[1]) if mask is None else mask.sum(axis=1)
        return self.classify(last[-1], states, lengths)
