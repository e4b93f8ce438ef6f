"""Wav2Lip with the visual quality discriminator (Wav2Lip + GAN); variants as configs/wav2lip.py."""

import ml_collections

from lipsync_jax.configs import wav2lip


def get_config(variant: str = "published") -> ml_collections.ConfigDict:
    """The experiment; `variant` is what follows the colon on the command line."""
    config = wav2lip.get_config(variant)
    config.adversarial = True
    config.optimiser.b1 = config.discriminator_optimiser.b1 = 0.5
    return config
