"""Inference of Wav2Lip: generates the masked lower half of a face."""

from typing import cast

import jax
import jax.numpy as jnp
import ml_collections

from lipsync_jax.data import windows
from lipsync_jax.data.audio_features import MEL
from lipsync_jax.data.clip import CROP_SPECS
from lipsync_jax.methods.inference import DubbingInference
from lipsync_jax.methods.wav2lip.method import mask_lower_half, network
from lipsync_jax.types import ModelCard, Variables


def make(model_card: ModelCard) -> "Wav2LipInference":
    """Returns the inference of a checkpoint."""
    return Wav2LipInference(ml_collections.ConfigDict(model_card["config"]))


class Wav2LipInference(DubbingInference):
    """The generator that a config describes."""

    audio_features = MEL

    def __init__(self, config: ml_collections.ConfigDict) -> None:
        self.crop = config.data.crop
        self.image_size = CROP_SPECS[config.data.crop].height
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
        inputs = jnp.concatenate([mask_lower_half(faces), references], axis=-1)
        rows = windows.windows_to_nhwc(audio)
        generated = self._generator.apply(variables, rows, inputs, first_row=first_row)
        return cast(jax.Array, generated)
