"""FlowNetS on synthetic image pairs (Dosovitskiy et al. 2015); needs no data set.

    python main.py --config=configs/flownet.py --workdir=runs/flownet

configs/flownet_lips.py fine-tunes the network for configs/glance.py. Sizes:

    size=published  the default; learning rate, betas, schedule and batch are the paper's, which
                    trains on other pairs (Flying Chairs)
    size=tiny       an eighth of the width and a higher rate, for minutes on a CPU

Paper: section 3 (FlowNetSimple), section 5.1 (training).
Expected: `:tiny` with `--config.model.width_mult=0.25`, 7000 steps, 0.542 pixels pooled on the test
pairs (lower is better; Farneback's flow 0.435, no motion 1.473), 1.1 hours on a shared CPU core
(docs/results.md). `:published`: not measured.
"""

import ml_collections

from lipsync_jax.configs import common

VARIANTS = common.Variants("flownet", {"size": ("published", "tiny")})


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; `variant` is the text after the colon on the command line."""
    size = VARIANTS.parse(variant).size
    config = common.experiment("flownet", trained_networks=("flownet",))

    config.data = ml_collections.ConfigDict()  # synthetic pairs: deviation F1
    config.data.size = 64  # side of the images, pixels
    # 100,000 is the length of one epoch.
    config.data.pairs = ml_collections.ConfigDict(
        {"train": 100_000, "validation": 256, "test": 256}
    )
    # Training pairs that are kept in memory (41 kB each), mirrored and transposed at random; 0: new
    # pairs at every step, which take more time than the step of a narrow network.
    config.data.stored_pairs = 0
    config.data.batch_size = 8
    config.data.num_threads = 4
    config.data.num_workers = 0
    config.data.validation_clips = 0  # pairs; 0: all
    config.data.validation_batch_size = 32

    config.model = ml_collections.ConfigDict({"width_mult": 1.0, "norm": False})
    config.scale_reduction = "sum"  # of errors at a resolution; or mean
    config.optimizer = common.optimizer(
        1e-4, weight_decay_l2=4e-4, lr_decay=0.5, lr_decay_every=100_000, lr_decay_from=300_000
    )
    config.train = common.train(600_000, every=5000)
    if size == "tiny":
        _make_tiny(config)
    return config


def _make_tiny(config: ml_collections.ConfigDict) -> None:
    """Sets a narrow network, a higher learning rate and a short run."""
    config.model.width_mult = 1 / 8
    config.data.stored_pairs = 4096
    config.data.pairs.validation = config.data.pairs.test = 64
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay_l2 = 0.0
    common.set_short_run(config, steps=2000, every=250, log_every=50, lr_decay=False)
