"""Inference of networks of sixteen frames: windows with one noise sample, which are cross-faded.

Windows continue beyond the end of the audio, so the last frames are not those of
`FixedLengthClipMethod.generate_clip`, whose last window ends with the clip.
"""

from collections.abc import Mapping
from typing import cast

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax import methods
from lipsync_jax.data.audio_frontends import LogMelFrontend
from lipsync_jax.methods.common import lip_video_gan
from lipsync_jax.methods.common.animation_inference import CroppedAnimationInference, to_uint8
from lipsync_jax.methods.glance.model import FRAMES, SIZE
from lipsync_jax.types import ModelCard, Tree, Variables


class FixedLengthClipInference(CroppedAnimationInference):
    """Animates with the generator of a `FixedLengthClipMethod`."""

    frame_rate = lip_video_gan.FRAME_RATE
    noise_std = 1.0
    frame_multiple = lip_video_gan.WINDOW_HOP
    window_frames = FRAMES

    def __init__(self, model_card: ModelCard) -> None:
        """Builds the method of a checkpoint's config."""
        super().__init__(model_card, (SIZE, SIZE))
        config = ml_collections.ConfigDict(model_card["config"])
        self._method = cast(lip_video_gan.FixedLengthClipMethod, methods.load(config))
        self.noise_size = self._method.noise_size
        self.audio_frontend = LogMelFrontend(
            self.frame_rate, FRAMES, float(config.audio_mean), float(config.audio_std)
        )

    def initial_state(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `AnimationInference`."""
        previous_tail = np.zeros((lip_video_gan.WINDOW_HOP, *self.image_size, 3), np.float32)
        return np.array(False), previous_tail, np.zeros(self.noise_size, np.float32)

    def step(
        self,
        variables: Mapping[str, Variables],
        encoded_image: Tree,
        features: jax.Array,
        noise: jax.Array,
        state: Tree,
    ) -> tuple[Tree, jax.Array]:
        """See `AnimationInference`."""
        has_previous, previous_tail, clip_noise = state
        clip_noise = jnp.where(has_previous, clip_noise, noise[0])
        features = features[:: lip_video_gan.WINDOW_HOP]
        noise_batch = jnp.broadcast_to(clip_noise, (len(features), *clip_noise.shape))
        windows = self._generate(variables, encoded_image, features, noise_batch)
        frames, previous_tail = lip_video_gan.cross_fade_streaming(
            has_previous, previous_tail, windows
        )
        return (jnp.array(True), previous_tail, clip_noise), to_uint8(frames)

    def generate_windows(
        self,
        variables: Mapping[str, Variables],
        encoded_image: Tree,
        features: jax.Array,
        noise: jax.Array,
    ) -> jax.Array:
        """See `AnimationInference`."""
        return to_uint8(self._generate(variables, encoded_image, features, noise))

    def _generate(
        self,
        variables: Mapping[str, Variables],
        encoded_image: Tree,
        features: jax.Array,
        noise: jax.Array,
    ) -> jax.Array:
        """Returns windows (n, 16, 64, 64, 3), RGB in [-1, 1]."""
        reference = encoded_image.astype(jnp.float32) / 127.5 - 1
        reference = jnp.broadcast_to(reference, (len(features), *reference.shape))
        return self._method.generate_frames(variables["generator"], reference, features, noise)
