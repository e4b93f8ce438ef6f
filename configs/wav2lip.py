"""Wav2Lip's generator against a frozen expert.

    python main.py --config=configs/wav2lip.py --workdir=runs/wav2lip --config.data.dir=DATA \
        --config.frozen.expert.checkpoint=runs/expert

Variants: `:published` (the default), `:small_data` (a quarter of the width), `:tiny` (the
demonstration). configs/wav2lip_gan.py adds the quality discriminator.
"""

import ml_collections


def get_config(variant: str = "published") -> ml_collections.ConfigDict:
    """The experiment; `variant` is what follows the colon on the command line."""
    config = ml_collections.ConfigDict()
    config.method = "wav2lip"
    config.seed = 0
    config.precision = "float32"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""  # the folder that `lipsync prepare` wrote
    config.data.geometry = "face96"
    config.data.batch_size = 16  # windows of 5 frames
    config.data.threads = 4
    config.data.validation_clips = 512  # 0 takes all
    config.data.validation_batch_size = 16

    config.model = ml_collections.ConfigDict()
    config.model.width = 1.0
    config.model.depth = 1.0

    config.frozen = ml_collections.ConfigDict()
    config.frozen.expert = ml_collections.ConfigDict()
    config.frozen.expert.checkpoint = ""  # workdir of a sync_expert run, or a converted file
    config.frozen.expert.player = "expert"
    config.frozen.expert.min_accuracy = 0.85  # balanced, on its validation clips; 0: no gate
    config.frozen.expert.batch_statistics = False  # True: as the published training ran it

    config.adversarial = False
    config.windows_per_clip = 1
    config.augment = 0.0
    config.lower_half_weight = 1.0  # of the L1 loss below the middle of the face; published: 1
    config.sync_weight = 0.03  # the paper's; the published plain script uses 0.01
    config.sync_weight_at_start = 0.0
    config.sync_threshold = 0.75  # validation sync loss below which the sync loss is switched on

    config.optimiser = ml_collections.ConfigDict()
    config.optimiser.learning_rate = 1e-4
    config.optimiser.b1 = 0.9
    config.optimiser.warmup = 0
    config.optimiser.decay_steps = 0

    config.train = ml_collections.ConfigDict()
    config.train.steps = 300_000
    config.train.log_every = 100
    config.train.validate_every = 3000
    config.train.checkpoint_every = 3000
    config.train.keep = 2

    if variant == "published":
        return config
    if variant not in ("small_data", "tiny"):
        raise ValueError(
            f"configs/wav2lip.py has no variant {variant!r}; choose published, small_data, tiny"
        )
    config.model.width = 0.25
    config.model.depth = 0.0
    config.data.batch_size = 8
    config.data.validation_clips = 0
    config.lower_half_weight = 4.0
    config.sync_threshold = 0.75
    config.sync_weight = 0.005  # an expert of little data is easily deceived
    config.optimiser.learning_rate = 7e-3
    config.optimiser.warmup = 50
    config.optimiser.decay_steps = 1200
    config.train.steps = 1200
    config.train.log_every = 20
    config.train.validate_every = 200
    config.train.checkpoint_every = 200
    if variant == "tiny":
        config.frozen.expert.min_accuracy = 0.65
        config.model.width = 0.125
        config.data.batch_size = 4  # its pictures stay in a CPU's cache
        config.data.threads = 2
        config.sync_weight = 0.003
        config.sync_threshold = 1.1  # few steps, so early
        config.optimiser.learning_rate = 1e-2
        config.optimiser.decay_steps = 900
        config.train.steps = 900
        config.train.validate_every = 225
    return config
