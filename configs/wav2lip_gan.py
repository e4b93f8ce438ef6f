"""Wav2Lip with the visual quality discriminator (Prajwal et al. 2020, section 3.4).

    python main.py --config=configs/wav2lip_gan.py --workdir=runs/wav2lip_gan \\
        --config.data.dir=DATA --config.frozen.expert.checkpoint=runs/expert

Variants as in configs/wav2lip.py. Result: not measured.
"""

import ml_collections

from lipsync_jax.configs import wav2lip


def get_config(variant: str = "published") -> ml_collections.ConfigDict:
    """The experiment; `variant` is what follows the colon on the command line."""
    config = wav2lip.get_config(variant)
    config.adversarial = True
    config.optimiser.b1 = config.discriminator_optimiser.b1 = 0.5
    return config
