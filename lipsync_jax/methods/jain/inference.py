"""Inference of the generator of Jain et al."""

import ml_collections

from lipsync_jax.data.audio_frontends import MFCCFrontend
from lipsync_jax.methods.common.animation_inference import read_frame_rate
from lipsync_jax.methods.common.recurrent_inference import RecurrentInference
from lipsync_jax.methods.jain.method import network
from lipsync_jax.types import ModelCard


def make(model_card: ModelCard) -> RecurrentInference:
    """Returns the inference of a checkpoint."""
    config = ml_collections.ConfigDict(model_card["config"])
    frontend = MFCCFrontend(read_frame_rate(model_card), float(config.audio_std))
    return RecurrentInference(model_card, network(config), frontend)
