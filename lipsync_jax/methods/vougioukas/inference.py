"""Inference of the temporal GANs of Vougioukas et al. (2018, 2020)."""

import ml_collections

from lipsync_jax.data.audio_frontends import WaveformFrontend
from lipsync_jax.methods.common.animation_inference import read_frame_rate
from lipsync_jax.methods.common.recurrent_inference import RecurrentInference
from lipsync_jax.methods.vougioukas.method import network
from lipsync_jax.types import ModelCard


def make(model_card: ModelCard) -> RecurrentInference:
    """Returns the inference of a checkpoint."""
    generator = network(ml_collections.ConfigDict(model_card["config"]))
    frontend = WaveformFrontend(
        generator.audio_rate, generator.audio_samples, read_frame_rate(model_card)
    )
    return RecurrentInference(model_card, generator, frontend)
