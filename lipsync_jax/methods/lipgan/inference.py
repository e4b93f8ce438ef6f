"""Inference of LipGAN: generates the masked lower half of a face."""

from typing import cast

import jax
import jax.numpy as jnp
import ml_collections

from lipsync_jax.data.audio_features import LIPGAN
from lipsync_jax.data.clip import CROP_SPECS
from lipsync_jax.methods.inference import DubbingInference
from lipsync_jax.methods.lipgan.method import network
from lipsync_jax.methods.wav2lip.method import mask_lower_half
from lipsync_jax.types import ModelCard, Variables


def make(model_card: ModelCard) -> "LipGANInference":
    """Returns the inference of a checkpoint."""
    return LipGANInference(ml_collections.ConfigDict(model_card["config"]))


class LipGANInference(DubbingInference):
    """The generator that a config describes."""

    def __init__(self, config: ml_collections.ConfigDict) -> None:
        self.crop = config.data.crop
        self.image_size = CROP_SPECS[config.data.crop].height
        # Deviation L4: at inference the published code starts a window with its frame.
        self.audio_features = LIPGAN[config.model.audio_features]
        self._generator = network(config)

    def generate(
        self,
        variables: Variables,
        audio: jax.Array,
        faces: jax.Array,
        references: jax.Array,
        first_row: int = 0,
    ) -> jax.Array:
        """See `DubbingInference`."""
        inputs = jnp.concatenate([references, mask_lower_half(faces)], axis=-1)
        generated = self._generator.apply(variables, audio, inputs)
        return cast(jax.Array, generated)[:, first_row:]
