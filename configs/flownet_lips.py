"""FlowNetS, pre-trained on synthetic pairs, fine-tuned on lips (Chen et al. 2018, section 4.2).

    python main.py --config=configs/flownet_lips.py --workdir=runs/flownet_lips \\
        --config.data.dir=DATA --config.init_from.flownet=runs/flownet

The first weights are those of a run of configs/flownet.py. Examples are pairs of successive frames
of the crop lips64; the target is Farneback's flow, and rate and decay are those of the published
code. The run is the `--config.frozen.flownet.checkpoint` of `configs/glance.py:flow=flownet`.
Sizes: `size=published` (the default) and `size=tiny` (an eighth of the width, for a CPU).

Paper: section 4.2 (flow network, its fine-tuning).
Expected: not measured.
"""

import ml_collections

from lipsync_jax.configs import common

VARIANTS = common.Variants("flownet_lips", {"size": ("published", "tiny")})


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; `variant` is the text after the colon on the command line."""
    size = VARIANTS.parse(variant).size
    config = common.experiment("flownet", trained_networks=("flownet",))
    config.data = common.data("lips64", batch_size=8, validation_batch_size=32)  # pairs of frames
    config.model = ml_collections.ConfigDict({"width_mult": 1.0, "norm": False})
    config.scale_reduction = "sum"  # of errors at a resolution; or mean: deviation F2
    config.optimizer = common.optimizer(1e-4, weight_decay_l2=4e-4)
    config.train = common.train(20_000, every=1000, early_stopping_patience=10)
    if size == "tiny":
        config.model.width_mult = 1 / 8
        config.optimizer.weight_decay_l2 = 0.0
        common.set_short_run(config, steps=500, every=100, log_every=50, lr_decay=False)
    return config
