"""FlowNetS on synthetic pairs of images (Dosovitskiy et al. 2015); needs no data set.

    python main.py --config=configs/flownet.py --workdir=runs/flownet

Variants:

    published  the default; rate, betas, decay, batch and their schedule are the paper's, for
               other pairs
    tiny       an eighth of the width and a higher rate, for minutes on a CPU

Result: not measured.
"""

import ml_collections

from lipsync_jax.configs import common


def get_config(variant: str = "published") -> ml_collections.ConfigDict:
    """The experiment; `variant` is what follows the colon on the command line."""
    config = common.experiment("flownet", learning=("flownet",))

    config.data = ml_collections.ConfigDict()
    config.data.size = 64  # side of the pictures
    # Those of training are always new; a data set of so many would have been read once.
    config.data.pairs = ml_collections.ConfigDict(
        {"train": 100_000, "validation": 256, "test": 256}
    )
    config.data.batch_size = 8
    config.data.threads = 8
    config.data.validation_clips = 0  # pairs; 0 takes all
    config.data.validation_batch_size = 32

    config.model = ml_collections.ConfigDict({"width": 1.0, "norm": False})
    config.optimiser = common.optimiser(
        1e-4, l2=4e-4, decay=0.5, decay_every=100_000, decay_from=300_000
    )
    config.train = common.train(600_000, every=5000)

    if variant == "published":
        return config
    if variant != "tiny":
        raise ValueError(f"configs/flownet.py has no variant {variant!r}; choose published or tiny")
    config.model.width = 1 / 8
    config.data.threads = 2
    config.data.pairs.validation = config.data.pairs.test = 64
    config.optimiser.learning_rate = 1e-3
    config.optimiser.l2 = 0.0
    config.train.steps = 2000
    config.train.log_every = 50
    config.train.validate_every = 250
    config.train.checkpoint_every = 250
    return config
