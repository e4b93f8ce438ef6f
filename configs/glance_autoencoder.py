"""The autoencoder of the perceptual term of configs/glance.py (Chen et al. 2018, section 4.1).

    python main.py --config=configs/glance_autoencoder.py --workdir=runs/autoencoder \\
        --config.data.dir=DATA

Variants: `:published` (the default) and `:tiny` (an eighth of the width, for minutes on a CPU).

Result: `:tiny`, 120 steps on GRID s1, 27.3 dB (docs/results.md); `:published` is not measured.
"""

import ml_collections

from lipsync_jax.configs import common


def get_config(variant: str = "published") -> ml_collections.ConfigDict:
    """The experiment; `variant` is what follows the colon on the command line."""
    config = common.experiment("glance_autoencoder", learning=("autoencoder",))
    config.data = common.data("lips64", batch_size=24)  # clips of 16 frames

    config.model = ml_collections.ConfigDict()
    config.model.width = 1.0
    config.model.residual_blocks = 6
    config.model.clips = False  # whether kernels span time, as in one published variant

    config.optimiser = common.optimiser(2e-4, b1=0.5)
    config.train = common.train(100_000, every=2000, patience=10)

    if variant == "published":
        return config
    if variant != "tiny":
        raise ValueError(
            f"configs/glance_autoencoder.py has no variant {variant!r}; choose published or tiny"
        )
    config.model.width = 1 / 8
    config.model.residual_blocks = 2
    config.data.batch_size = 4
    config.data.threads = 2
    config.data.validation_clips = 16
    config.optimiser.learning_rate = 2e-3
    config.train.steps = 300
    config.train.log_every = 20
    config.train.validate_every = 100
    config.train.checkpoint_every = 100
    config.train.patience = 0
    return config
