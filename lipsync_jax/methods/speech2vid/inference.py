"""Inference of Speech2Vid, without recurrence; several reference images are copies of one."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import ml_collections

from lipsync_jax.data.audio_features import MFCC
from lipsync_jax.data.audio_frontends import SpectrogramFrontend
from lipsync_jax.methods.common.animation_inference import (
    CroppedAnimationInference,
    read_frame_rate,
    to_uint8,
)
from lipsync_jax.methods.speech2vid.method import FACE_SIZE, Speech2Vid, pad_to_face
from lipsync_jax.types import ModelCard, Tree, Variables


def make(model_card: ModelCard) -> "Speech2VidInference":
    """Returns the inference of a checkpoint."""
    return Speech2VidInference(model_card)


class Speech2VidInference(CroppedAnimationInference):
    """The generator, and the deblurring network where the checkpoint has one."""

    def __init__(self, model_card: ModelCard) -> None:
        """Builds the method of a checkpoint's config."""
        super().__init__(model_card, (FACE_SIZE, FACE_SIZE))
        self.frame_rate = read_frame_rate(model_card)
        self.audio_frontend = SpectrogramFrontend(MFCC, self.frame_rate)
        self._method = Speech2Vid(ml_collections.ConfigDict(model_card["config"]), {})
        self.networks = tuple(self._method.networks)

    def step(
        self,
        variables: Mapping[str, Variables],
        encoded_image: Tree,
        features: jax.Array,
        noise: jax.Array,
        state: Tree,
    ) -> tuple[Tree, jax.Array]:
        """See `AnimationInference`."""
        del noise
        reference = encoded_image.astype(jnp.float32) / 255
        count = self._method.config.num_reference_images
        references = jnp.tile(reference, (len(features), 1, 1, count))
        _, sharp = self._method.generate_frames(variables, features, references)
        return state, to_uint8(pad_to_face(sharp) * 2 - 1)
