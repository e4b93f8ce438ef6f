"""Wav2Lip's generator against a frozen expert (Prajwal et al. 2020).

    python main.py --config=configs/wav2lip.py --workdir=runs/wav2lip --config.data.dir=DATA \\
        --config.frozen.expert.checkpoint=runs/expert

Variants: `:published` (the default), `:small_data` (a quarter of the width), `:tiny` (for `lipsync
demo`). configs/wav2lip_gan.py adds the quality discriminator.

Result: `:small_data` on GRID s1, mouth error 0.0218, 34 minutes on two shared CPU cores
(docs/results.md); `:published` is not measured.
"""

import ml_collections

from lipsync_jax.configs import common


def get_config(variant: str = "published") -> ml_collections.ConfigDict:
    """The experiment; `variant` is what follows the colon on the command line."""
    config = common.experiment("wav2lip", learning=("generator", "discriminator"))
    config.data = common.data(  # clips of `windows_per_clip` windows of 5 frames
        "face96", batch_size=16, validation_clips=512, validation_batch_size=16
    )

    config.model = ml_collections.ConfigDict()
    config.model.width = 1.0
    config.model.depth = 1.0

    config.frozen.expert = common.frozen("sync_expert", "expert")
    config.frozen.expert.min_accuracy = 0.85  # balanced, on its validation clips; 0: no gate
    config.frozen.expert.batch_statistics = False  # True: as the published training ran it

    config.adversarial = False  # configs/wav2lip_gan.py turns this on
    config.quality_weight = 0.07  # of the discriminator's term
    config.discriminator = ml_collections.ConfigDict({"width": 1.0})
    config.discriminator_optimiser = common.optimiser(1e-4)
    config.windows_per_clip = 1
    config.augment = 0.0
    config.lower_half_weight = 1.0  # of the L1 loss below the middle of the face; published: 1
    config.sync_weight = 0.03  # the paper's; the published plain script uses 0.01
    config.sync_weight_at_start = 0.0
    config.sync_threshold = 0.75  # validation sync loss below which the sync loss is switched on

    config.optimiser = common.optimiser(1e-4)
    config.train = common.train(300_000, every=3000)

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
    config.discriminator.width = 0.25
    config.discriminator_optimiser.learning_rate = 7e-3
    if variant == "tiny":
        config.frozen.expert.min_accuracy = 0.65
        config.model.width = 0.125
        config.data.batch_size = 4  # its pictures stay in a CPU's cache
        config.data.threads = 2
        config.sync_weight = 0.003
        config.sync_threshold = 1.1  # few steps, so early
        config.optimiser.learning_rate = 1e-2
        config.discriminator.width = 0.125
        config.discriminator_optimiser.learning_rate = 1e-2
        config.optimiser.decay_steps = 900
        config.train.steps = 900
        config.train.validate_every = 225
    return config
