"""The recurrent generator of the temporal GANs: reference image and audio -> video, in segments.

The reference image is encoded once, the audio window by window; recurrent units carry audio and
noise through time; each frame is decoded from [audio, noise, identity] with skip connections from
the reference image (Vougioukas et al. 2018, section 3.1). Layers of single frames run over all
clips and frames as one batch; only the recurrent units are scanned.
"""

from typing import NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from lipsync_jax.nn.gru import GRU, merge_time, split_time, zero_carry
from lipsync_jax.nn.shape_checks import check_shape
from lipsync_jax.nn.unet import EncodedImage, IdentityEncoder

CONTEXT_LAYERS = 2


class Carry(NamedTuple):
    """The recurrent state that a generator passes from one segment to the next.

    Attributes:
        context: (2, n, context_size), of the audio.
        noise: (noise_layers, n, noise_size).
    """

    context: jax.Array
    noise: jax.Array


class RecurrentGenerator(nn.Module):
    """Base class of the generators of this family, which add `audio_encoder` and `decoder`.

    Attributes:
        audio_size: size of the embedding of a window of audio.
        context_size: size of the code of the audio up to a frame.
        noise_size: size of the noise of a frame.
        noise_layers: recurrent layers of the noise.
        identity_size: size of the code of the reference image.
        width_mult: multiplies the channels of layers of images.
        image_size: height and width of images.
        recurrent: False makes the static baseline of 2018, section 4: each frame is generated from
            its own window of audio alone, without noise; carries pass through unchanged.
        dtype: of the computation; None follows inputs and parameters.
    """

    audio_size: int = 256
    context_size: int = 256
    noise_size: int = 10
    noise_layers: int = 1
    identity_size: int = 50
    width_mult: float = 1.0
    image_size: tuple[int, int] = (128, 96)
    recurrent: bool = True
    dtype: DTypeLike | None = None

    def setup(self) -> None:
        """Defines the submodules."""
        if self.recurrent:
            self.context = GRU(self.context_size, CONTEXT_LAYERS, self.dtype)
            self.noise = GRU(self.noise_size, self.noise_layers, self.dtype)
        self.identity_encoder = IdentityEncoder(
            self.identity_size, self.width_mult, self.image_size, self.dtype
        )

    def initial_carry(self, n: int) -> Carry:
        """Returns the carry before the first frame of n clips."""
        return Carry(
            zero_carry(CONTEXT_LAYERS, n, self.context_size),
            zero_carry(self.noise_layers, n, self.noise_size),
        )

    def __call__(
        self,
        reference: Float[Array, "n height width 3"],
        audio: Float[Array, "n time ..."],
        noise: Float[Array, "n time noise"],
        carry: Carry | None = None,
        mask: Bool[Array, "n time"] | None = None,
        train: bool = False,
    ) -> tuple[Carry, Float[Array, "n time height width 3"]]:
        """Generates clips.

        Args:
            reference: (n, height, width, 3), RGB in [-1, 1].
            audio: (n, time, ...), one window of audio a frame.
            noise: (n, time, noise_size), normal, sampled by the caller.
            carry: from the segment before; None: zeros.
            mask: bool (n, time), False for padding.
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            The carry after the last valid frame; frames (n, time, height, width, 3), float32 RGB
            in [-1, 1], undefined where the mask is False.
        """
        return self.generate(
            self.encode_reference(reference, train), audio, noise, carry, mask, train
        )

    def encode_reference(self, reference: jax.Array, train: bool = False) -> EncodedImage:
        """Encodes reference images for `generate`, once for all segments of a clip."""
        return self.identity_encoder(reference, train)

    def encode_audio(
        self,
        audio: jax.Array,
        carry: jax.Array | None = None,
        mask: jax.Array | None = None,
        train: bool = False,
    ) -> tuple[jax.Array, jax.Array]:
        """Encodes the audio up to each frame: (2, n, context_size), (n, time, context_size).

        Arguments are those of a call; `carry` is the `context` of a Carry.
        """
        windows = self.audio_encoder(merge_time(audio), train, merge_time(mask))
        windows = split_time(windows, audio.shape[1])
        if self.recurrent:
            return self.context(windows, carry, mask)
        return cast(jax.Array, carry), windows  # unchanged, even where the carry is None

    def generate(
        self,
        reference: EncodedImage,
        audio: jax.Array,
        noise: jax.Array,
        carry: Carry | None = None,
        mask: jax.Array | None = None,
        train: bool = False,
    ) -> tuple[Carry, jax.Array]:
        """Generates as a call does, from encoded reference images."""
        check_shape(self, "noise", noise, *audio.shape[:2], self.noise_size)
        carry = carry or self.initial_carry(len(audio))
        context, audio_code = self.encode_audio(audio, carry.context, mask, train)
        identity = jnp.broadcast_to(
            reference.code[:, None], (*audio.shape[:2], reference.code.shape[-1])
        )
        parts, noise_state = [audio_code, identity], carry.noise
        if self.recurrent:
            noise_state, noise_out = self.noise(noise, carry.noise, mask)
            parts.insert(1, jnp.tanh(noise_out))
        latents = jnp.concatenate(parts, axis=-1)
        frames = self.decoder(merge_time(latents), reference.skips, train, merge_time(mask))
        return Carry(context, noise_state), split_time(frames, audio.shape[1])
