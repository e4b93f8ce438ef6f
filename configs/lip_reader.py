"""A lip reader of GRID's sentences, for the word error rate of `lipsync evaluate`.

    python main.py --config=configs/lip_reader.py --workdir=runs/lip_reader --config.data.dir=DATA

Sizes (another corpus needs its own `config.vocabulary`):

    size=grid        the default: LipNet's width, for the whole corpus
    size=small_data  a quarter of that width, for a few hundred sentences of one speaker on a CPU

Paper: the network after LipNet (Assael et al. 2016, section 3.3), the metric as in Vougioukas et
al. 2020, section 4.1.
Expected: `:small_data` on GRID s1, word error rate 21.9 % on real faces (lower is better), 1.1
hours on two shared CPU cores (docs/results.md). `:grid`: not measured.
"""

import ml_collections

from lipsync_jax.configs import common

GRID = (
    "bin lay place set blue green red white at by in with "
    "a b c d e f g h i j k l m n o p q r s t u v x y z "
    "zero one two three four five six seven eight nine again now please soon"
)
VARIANTS = common.Variants("lip_reader", {"size": ("grid", "small_data")})


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; `variant` is the text after the colon on the command line."""
    size = VARIANTS.parse(variant).size
    config = common.experiment("lip_reader", trained_networks=("reader",))
    config.data = common.data("face96", batch_size=48)

    config.vocabulary = tuple(GRID.split())
    config.frames = 75  # per example; shorter clips are padded
    config.speed_augment = 0.15  # largest relative change of an example's speed
    config.augment_magnitude = 0.5
    config.viterbi_transition_cost = 4.0  # nats per change from one word to another

    config.model = ml_collections.ConfigDict()
    config.model.width_mult = 1.0
    config.model.hidden_size = 256
    config.model.dropout = 0.5

    config.optimizer = common.optimizer(
        3e-4, weight_decay=1e-2, warmup_steps=500, lr_decay_steps=60_000
    )
    config.train = common.train(60_000, every=1000)
    if size == "small_data":
        _make_small(config)
    return config


def _make_small(config: ml_collections.ConfigDict) -> None:
    """Sets a narrow network, stronger augmentation and a short run."""
    config.data.batch_size = 8
    config.data.validation_clips = 0
    config.augment_magnitude = 1.0
    config.model.width_mult = 0.25
    config.model.hidden_size = 128
    config.model.dropout = 0.3
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 50
    config.optimizer.lr_decay_steps = 1600
    config.train.steps = 1600
    config.train.log_every = 20
    config.train.validate_every = 100
    config.train.checkpoint_every = 100
