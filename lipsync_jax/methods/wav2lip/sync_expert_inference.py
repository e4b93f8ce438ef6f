"""Inference of Wav2Lip's lip-sync expert: 5 frames of the lower face, 0.2 s of log-mel."""

import dataclasses
from fractions import Fraction
from typing import ClassVar

import jax
import jax.numpy as jnp
import ml_collections

from lipsync_jax.data.audio_features import MEL
from lipsync_jax.data.clip import CROP_SPECS
from lipsync_jax.methods.common.two_stream_sync import TwoStreamSyncInference
from lipsync_jax.methods.wav2lip.model import SyncExpert
from lipsync_jax.nn.conv import stack_frames
from lipsync_jax.types import ModelCard


def make(model_card: ModelCard) -> "SyncExpertInference":
    """Returns the inference of a checkpoint."""
    return SyncExpertInference(ml_collections.ConfigDict(model_card["config"]))


class SyncExpertInference(TwoStreamSyncInference):
    """The expert that a config describes."""

    name: ClassVar = "sync_expert"
    window_frames = 5
    audio_features = dataclasses.replace(MEL, window=16, lookback=Fraction(0))

    def __init__(self, config: ml_collections.ConfigDict) -> None:
        self.crop = config.data.crop
        self.image_size = CROP_SPECS[config.data.crop].height
        self.module = SyncExpert(
            image_size=self.image_size, dtype=jnp.dtype(config.precision), **config.model
        )

    def video_inputs(self, frames: jax.Array) -> jax.Array:
        """See `stack_lower_half`."""
        return stack_lower_half(frames)


def stack_lower_half(faces: jax.Array) -> jax.Array:
    """Converts windows of whole faces to the expert's input.

    Args:
        faces: (n, 5, size, size, 3) BGR in [0, 1].

    Returns:
        (n, size / 2, size, 15): rows below the middle, channel 3 * frame + colour.
    """
    return stack_frames(faces[:, :, faces.shape[2] // 2 :])
