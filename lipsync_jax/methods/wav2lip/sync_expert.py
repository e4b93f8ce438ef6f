"""Training of Wav2Lip's lip-sync expert (Prajwal et al. 2020, section 3.3)."""

import ml_collections

from lipsync_jax.methods.common.sync_expert_method import SyncExpertMethod
from lipsync_jax.methods.wav2lip.sync_expert_inference import SyncExpertInference
from lipsync_jax.types import ModelCards


def make(config: ml_collections.ConfigDict, model_cards: ModelCards) -> SyncExpertMethod:
    """Returns the method of a config."""
    return SyncExpertMethod(config, model_cards, SyncExpertInference(config))
