"""Training of StableSyncNet (Li et al. 2024, LatentSync, section 3.3)."""

import ml_collections

from lipsync_jax.methods.common.sync_expert_method import SyncExpertMethod
from lipsync_jax.methods.stable_syncnet.inference import StableSyncNetInference
from lipsync_jax.types import ModelCards


def make(config: ml_collections.ConfigDict, model_cards: ModelCards) -> SyncExpertMethod:
    """Returns the method of a config."""
    return SyncExpertMethod(config, model_cards, StableSyncNetInference(config))
