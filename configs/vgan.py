"""VGAN (Vondrick et al. 2016) with audio, as the baseline of "At a Glance" (Chen et al. 2018).

    python main.py --config=configs/vgan.py --workdir=runs/vgan --config.data.dir=DATA

Variants, e.g. `configs/vgan.py:size=tiny,system=no_image_cond`:

    size=published        the default
    size=tiny             for minutes on a CPU

    system=image_cond     the default: with a reference image of the lips, as in their text
    system=no_image_cond  without reference image, as in their published code

Rates, betas and batch are those of the published code.

Paper: table 3 of Chen et al., row "VGAN"; the networks are those of Vondrick et al., eq. 2.
Expected: `:tiny`, 80 steps on GRID s1, noise, test LMD 5.08 pixels (lower is better; static-image
baseline 1.26; docs/results.md). `:published`: not measured.
"""

import ml_collections

from lipsync_jax.configs import common

VARIANTS = common.Variants(
    "vgan",
    {"size": ("published", "tiny"), "system": ("image_cond", "no_image_cond")},
    # Names before version 0.2.
    aliases={"still": "system=image_cond", "released": "system=no_image_cond"},
)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; `variant` is the text after the colon on the command line."""
    chosen = VARIANTS.parse(variant)
    config = common.experiment("vgan", trained_networks=("generator", "discriminator"))
    config.data = common.data("lips64", batch_size=24)  # clips of 16 frames
    config.segment_hop = 8  # frames between the starts of a clip's training windows; 1: any start

    config.audio_mean = 60.0  # dB; 0 and 1 in the published code: deviation G10
    config.audio_std = 30.0

    config.model = ml_collections.ConfigDict()
    config.model.width_mult = 1.0
    # Deviation V1.
    config.model.condition_on_image = chosen.system == "image_cond"
    config.optimizer = common.optimizer(2e-4, b1=0.5)

    config.loss = common.loss(  # deviation V2
        mask=0.0,  # 0.1 in Vondrick et al., for videos from noise alone
        first_frame=0.0,  # 10 there, for videos that continue a frame
    )

    config.discriminators = ml_collections.ConfigDict()
    config.discriminators.clip = common.discriminator(
        weight=1.0,
        optimizer=common.optimizer(2e-4, b1=0.5),
        model={"width_mult": 1.0},
        fake_weight=0.5,
        mismatched_weight=0.5,
    )

    config.train = common.train(400_000, every=4000, early_stopping_patience=10)
    if chosen.size == "tiny":
        _make_tiny(config)
    return config


def _make_tiny(config: ml_collections.ConfigDict) -> None:
    """Sets narrow networks and a higher rate of the generator."""
    config.model.width_mult = config.discriminators.clip.model.width_mult = 1 / 8
    config.data.batch_size = 4
    config.segment_hop = 1
    config.data.validation_clips = 16
    config.optimizer.learning_rate = 1e-3
    common.set_short_run(config, steps=300, every=100, lr_decay=False)
