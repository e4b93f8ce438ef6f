"""The generator that temporal GANs share: a still and a voice become a video, in stretches.

The still is encoded once, the sound window by window; recurrent units carry sound and noise through
time; each frame is decoded from [sound, noise, identity] with the still's maps beside it
(Vougioukas et al. 2018, section 3.1). Whatever looks at single moments runs over all clips and
moments as one batch; only the recurrent units are scanned.
"""

from typing import NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from lipsync_jax.nn.gru import GRU, fold_time, initial_carry, unfold_time
from lipsync_jax.nn.shape_checks import check
from lipsync_jax.nn.unet import IdentityEncoder, Still

CONTEXT_LAYERS = 2


class Carry(NamedTuple):
    """What a generator remembers from one stretch of frames to the next.

    Attributes:
        context: (2, n, context_size), of the sound.
        noise: (noise_layers, n, noise_size).
    """

    context: jax.Array
    noise: jax.Array


class RecurrentGenerator(nn.Module):
    """What the generators of this family have in common; they add `audio_encoder` and `decoder`.

    Attributes:
        audio_size: size of the embedding of a window of sound.
        context_size: size of the code of the sound so far.
        noise_size: size of the noise.
        noise_layers: recurrent layers it passes.
        identity_size: size of the still's code.
        width: multiplies the channels of pictures.
        image_size: height and width of pictures.
        recurrent: False makes the static baseline of 2018, section 4: each frame is drawn from its
            own window of sound alone, without noise; carries pass through it unchanged.
        dtype: of the computation; None follows inputs and parameters.
    """

    audio_size: int = 256
    context_size: int = 256
    noise_size: int = 10
    noise_layers: int = 1
    identity_size: int = 50
    width: float = 1.0
    image_size: tuple[int, int] = (128, 96)
    recurrent: bool = True
    dtype: DTypeLike | None = None

    def setup(self) -> None:
        """Names the parts, which can be run alone."""
        if self.recurrent:
            self.context = GRU(self.context_size, CONTEXT_LAYERS, self.dtype)
            self.noise = GRU(self.noise_size, self.noise_layers, self.dtype)
        self.identity_encoder = IdentityEncoder(
            self.identity_size, self.width, self.image_size, self.dtype
        )

    def start(self, n: int) -> Carry:
        """The carry before the first frame of n clips."""
        return Carry(
            initial_carry(CONTEXT_LAYERS, n, self.context_size),
            initial_carry(self.noise_layers, n, self.noise_size),
        )

    def __call__(
        self,
        still: jax.Array,
        audio: jax.Array,
        noise: jax.Array,
        carry: Carry | None = None,
        mask: jax.Array | None = None,
        train: bool = False,
    ) -> tuple[Carry, jax.Array]:
        """Animates stills.

        Args:
            still: (n, height, width, 3), RGB in [-1, 1].
            audio: (n, time, ...), one window of sound a frame.
            noise: (n, time, noise_size), normal; drawn by the caller.
            carry: from the frames before; None starts anew.
            mask: bool (n, time), False for padding.
            train: whether BatchNorm uses and updates statistics of the batch.

        Returns:
            The carry after the last valid frame; frames (n, time, height, width, 3), float32 RGB
            in [-1, 1], without meaning where the mask is False.
        """
        return self.animate(self.encode_still(still, train), audio, noise, carry, mask, train)

    def encode_still(self, still: jax.Array, train: bool = False) -> Still:
        """What `animate` takes, so that a still is encoded once for many stretches of frames."""
        return self.identity_encoder(still, train)

    def hear(
        self,
        audio: jax.Array,
        carry: jax.Array | None = None,
        mask: jax.Array | None = None,
        train: bool = False,
    ) -> tuple[jax.Array, jax.Array]:
        """The sound's code at each frame: (2, n, context_size), (n, time, context_size).

        Arguments are those of a call; the carry is its `context`.
        """
        windows = self.audio_encoder(fold_time(audio), train, fold_time(mask))
        windows = unfold_time(windows, audio.shape[1])
        if self.recurrent:
            return self.context(windows, carry, mask)
        return cast(jax.Array, carry), windows  # unchanged, even where there is none

    def animate(
        self,
        still: Still,
        audio: jax.Array,
        noise: jax.Array,
        carry: Carry | None = None,
        mask: jax.Array | None = None,
        train: bool = False,
    ) -> tuple[Carry, jax.Array]:
        """`__call__` with encoded stills."""
        check(self, "noise", noise, *audio.shape[:2], self.noise_size)
        carry = carry or self.start(len(audio))
        context, heard = self.hear(audio, carry.context, mask, train)
        who = jnp.broadcast_to(still.code[:, None], (*audio.shape[:2], still.code.shape[-1]))
        parts, noise_state = [heard, who], carry.noise
        if self.recurrent:
            noise_state, moved = self.noise(noise, carry.noise, mask)
            parts.insert(1, jnp.tanh(moved))
        latents = jnp.concatenate(parts, axis=-1)
        frames = self.decoder(fold_time(latents), still.maps, train, fold_time(mask))
        return Carry(context, noise_state), unfold_time(frames, audio.shape[1])
