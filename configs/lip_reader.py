"""A lip reader of GRID's sentences, for the word error rate of `lipsync evaluate`.

    python main.py --config=configs/lip_reader.py --workdir=runs/lip_reader --config.data.dir=DATA

Variants: `:grid` (the default: LipNet's width), `:small_data` (a quarter of that width, for one
speaker's few hundred sentences on a CPU). Another corpus needs its own `config.vocabulary`.

Result: `:small_data` on GRID s1, word error rate 21.9 % on real faces, 67 minutes on two shared CPU
cores (docs/results.md); `:grid` is not measured.
"""

import ml_collections

from lipsync_jax.configs import common

GRID = (
    "bin lay place set blue green red white at by in with "
    "a b c d e f g h i j k l m n o p q r s t u v x y z "
    "zero one two three four five six seven eight nine again now please soon"
)


def get_config(variant: str = "grid") -> ml_collections.ConfigDict:
    """The experiment; `variant` is what follows the colon on the command line."""
    config = common.experiment("lip_reader", learning=("reader",))
    config.data = common.data("face96", batch_size=48)

    config.vocabulary = tuple(GRID.split())
    config.frames = 75  # of an example; shorter clips are filled up
    config.pace = 0.15  # an example's pace differs from the clip's by up to this share
    config.augment = 0.5
    config.change_cost = 4.0  # nats, of a change from one word to another in reading

    config.model = ml_collections.ConfigDict()
    config.model.width = 1.0
    config.model.hidden_size = 256
    config.model.dropout = 0.5

    config.optimiser = common.optimiser(3e-4, weight_decay=1e-2, warmup=500, decay_steps=60_000)
    config.train = common.train(60_000, every=1000)

    if variant == "grid":
        return config
    if variant != "small_data":
        raise ValueError(
            f"configs/lip_reader.py has no variant {variant!r}; choose grid or small_data"
        )
    config.data.batch_size = 8
    config.data.validation_clips = 0
    config.augment = 1.0
    config.model.width = 0.25
    config.model.hidden_size = 128
    config.model.dropout = 0.3
    config.optimiser.learning_rate = 2e-3
    config.optimiser.warmup = 50
    config.optimiser.decay_steps = 1600
    config.train.steps = 1600
    config.train.log_every = 20
    config.train.validate_every = 100
    config.train.checkpoint_every = 100
    return config
