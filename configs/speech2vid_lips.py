"""Speech2Vid as the baseline "Chung" of "At a Glance" (Chen et al. 2018, table 3): crops of lips.

    python main.py --config=configs/speech2vid_lips.py --workdir=runs/speech2vid_lips \\
        --config.data.dir=DATA

Variants: `size=published` (the default) and `size=tiny` (an eighth of the width, for minutes on a
CPU). The network, which makes 16 frames at once, rates, betas and batch are those of the published
code; configs/speech2vid.py is the network of Chung et al. themselves.

Paper: table 3, row "Chung".
Expected: `:tiny`, 80 steps on GRID s1, test LMD 1.65 pixels (lower is better; static-image baseline
1.26): too few steps to follow the audio (docs/results.md). `:published`: not measured.
"""

import ml_collections

from lipsync_jax.configs import common

VARIANTS = common.Variants("speech2vid_lips", {"size": ("published", "tiny")})


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; `variant` is the text after the colon on the command line."""
    chosen = VARIANTS.parse(variant)
    config = common.experiment("speech2vid_lips", trained_networks=("generator",))
    config.data = common.data("lips64", batch_size=24)  # clips of 16 frames
    config.segment_hop = 8  # frames between the starts of a clip's training windows; 1: any start

    config.audio_mean = 60.0  # dB; 0 and 1 in the published code: deviation G10
    config.audio_std = 30.0

    config.model = ml_collections.ConfigDict({"width_mult": 1.0})
    config.optimizer = common.optimizer(2e-4, b1=0.5)
    config.train = common.train(400_000, every=4000, early_stopping_patience=10)
    if chosen.size == "tiny":
        _make_tiny(config)
    return config


def _make_tiny(config: ml_collections.ConfigDict) -> None:
    """Sets a narrow network and a higher rate."""
    config.model.width_mult = 1 / 8
    config.data.batch_size = 4
    config.data.validation_clips = 16
    config.segment_hop = 1
    config.optimizer.learning_rate = 3e-3
    config.optimizer.warmup_steps = 30
    common.set_short_run(config, steps=300, every=100)
