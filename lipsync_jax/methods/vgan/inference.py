"""Inference of the generator of the audio-conditioned VGAN."""

from lipsync_jax.methods.common.lip_video_inference import FixedLengthClipInference
from lipsync_jax.types import ModelCard


def make(model_card: ModelCard) -> FixedLengthClipInference:
    """Returns the inference of a checkpoint."""
    return FixedLengthClipInference(model_card)
