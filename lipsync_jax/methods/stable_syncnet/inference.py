"""Inference of StableSyncNet: 16 frames of the lower half of a face, 0.65 s of log-mel."""

import dataclasses
from fractions import Fraction
from typing import ClassVar

import jax
import jax.numpy as jnp
import ml_collections

from lipsync_jax.data.audio_features import MEL
from lipsync_jax.data.clip import CROP_SPECS
from lipsync_jax.methods.common.two_stream_sync import TwoStreamSyncInference
from lipsync_jax.methods.stable_syncnet.model import (
    MEL_COLUMNS,
    NUM_FRAMES,
    StableSyncNet,
    stack_lower_half,
)
from lipsync_jax.types import ModelCard


def make(model_card: ModelCard) -> "StableSyncNetInference":
    """Returns the inference of a checkpoint."""
    return StableSyncNetInference(ml_collections.ConfigDict(model_card["config"]))


class StableSyncNetInference(TwoStreamSyncInference):
    """The network that a config describes."""

    name: ClassVar = "stable_syncnet"
    window_frames = NUM_FRAMES
    batch_size = 8  # windows of 16 faces
    audio_features = dataclasses.replace(MEL, window=MEL_COLUMNS, lookback=Fraction(0))

    def __init__(self, config: ml_collections.ConfigDict) -> None:
        self.crop = config.data.crop
        self.image_size = CROP_SPECS[config.data.crop].height
        self.module = StableSyncNet(
            image_size=self.image_size, dtype=jnp.dtype(config.precision), **config.model
        )

    def video_inputs(self, frames: jax.Array) -> jax.Array:
        """See `stack_lower_half`."""
        return stack_lower_half(frames)
