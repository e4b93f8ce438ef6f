"""Wav2Lip with the visual quality discriminator (Prajwal et al. 2020).

    python main.py --config=configs/wav2lip_gan.py --workdir=runs/wav2lip_gan \\
        --config.data.dir=DATA --config.frozen.expert.checkpoint=runs/expert

Arguments as in configs/wav2lip.py.

Paper: section 3.5.
Expected: not measured.
"""

import ml_collections

from lipsync_jax.configs import common, wav2lip

VARIANTS = common.Variants("wav2lip_gan", wav2lip.VARIANTS.arguments)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; `variant` is the text after the colon on the command line."""
    chosen = VARIANTS.parse(variant)
    size = chosen.size
    base = "published" if size == "pod" else size
    config = wav2lip.get_config(f"size={base},sampling={chosen.sampling}")
    config.optimizer.b1 = 0.5
    if size == "in_the_box":  # --config.init_from.generator=RUN of configs/wav2lip.py, this size
        config.sharpness_floor = 0.5
        config.train.steps = 6000
        config.optimizer.learning_rate = 6e-4
        config.optimizer.lr_decay_steps = 6000
        config.loss.edge = 0.2
        config.discriminators.quality = common.discriminator(
            weight=0.03,
            network="patch",
            optimizer=common.optimizer(3e-4, b1=0.5),
            model={"width_mult": 0.5},
        )
    else:
        config.discriminators.quality = common.discriminator(
            weight=0.07,
            network="published",
            optimizer=common.optimizer(config.optimizer.learning_rate, b1=0.5),
            model={"width_mult": config.model.width_mult},
        )
    if size == "pod":
        common.set_pod(config, batch_size=512, linear=False)
    config.init_from = common.init_from("generator", "discriminator")
    return config
