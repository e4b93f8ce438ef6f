"""Inference of the Speech2Vid baseline of "At a Glance"."""

from lipsync_jax.methods.common.lip_video_inference import FixedLengthClipInference
from lipsync_jax.types import ModelCard


def make(model_card: ModelCard) -> FixedLengthClipInference:
    """Returns the inference of a checkpoint."""
    return FixedLengthClipInference(model_card)
