"""The autoencoder of the perceptual term of configs/glance.py (Chen et al. 2018, section 4.1).

    python main.py --config=configs/glance_autoencoder.py --workdir=runs/autoencoder \\
        --config.data.dir=DATA

Variants: `size=published` (the default) and `size=tiny` (an eighth of the width, for minutes on a
CPU).

Paper: section 4.1, eq. 3.
Expected: `:tiny`, 120 steps on GRID s1, PSNR 27.3 dB (higher is better; docs/results.md).
`:published`: not measured.
"""

import ml_collections

from lipsync_jax.configs import common

VARIANTS = common.Variants("glance_autoencoder", {"size": ("published", "tiny")})


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; `variant` is the text after the colon on the command line."""
    chosen = VARIANTS.parse(variant)
    config = common.experiment("glance_autoencoder", trained_networks=("autoencoder",))
    config.data = common.data("lips64", batch_size=24)  # clips of 16 frames
    config.segment_hop = 8  # frames between the starts of a clip's training windows; 1: any start

    config.model = ml_collections.ConfigDict()
    config.model.width_mult = 1.0
    config.model.residual_blocks = 6
    config.model.temporal_kernels = False  # deviation G6

    config.optimizer = common.optimizer(2e-4, b1=0.5)
    config.train = common.train(100_000, every=2000, early_stopping_patience=10)
    if chosen.size == "tiny":
        _make_tiny(config)
    return config


def _make_tiny(config: ml_collections.ConfigDict) -> None:
    """Sets narrow and shallow networks and a higher rate."""
    config.model.width_mult = 1 / 8
    config.model.residual_blocks = 2
    config.data.batch_size = 4
    config.segment_hop = 1
    config.data.validation_clips = 16
    config.optimizer.learning_rate = 2e-3
    common.set_short_run(config, steps=300, every=100, lr_decay=False)
