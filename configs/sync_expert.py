"""The lip-sync expert of Wav2Lip (Prajwal et al. 2020, section 3.1), frozen in configs/wav2lip.py.

    python main.py --config=configs/sync_expert.py --workdir=runs/expert --config.data.dir=DATA

Variants:

    published   the default: full width, binary cross-entropy of the cosine, as in the paper
    small_data  a quarter of the width, contrastive, regularised: for minutes to hours of video
    tiny        for synthetic faces in minutes on a CPU, as in `lipsync demo`

Result: `:small_data` on GRID s1, balanced accuracy 0.926 (docs/results.md); `:published` is not
measured.
"""

import ml_collections

from lipsync_jax.configs import common


def get_config(variant: str = "published") -> ml_collections.ConfigDict:
    """The experiment; `variant` is what follows the colon on the command line."""
    config = common.experiment("sync_expert", learning=("expert",))
    config.data = common.data("face96", batch_size=64, validation_clips=128, validation_frames=75)

    config.model = ml_collections.ConfigDict()
    config.model.width = 1.0
    config.model.dropout = 0.0
    config.model.activation_last = True  # False lets cosines be negative; suits contrastive

    config.loss = "cosine_bce"  # or contrastive
    config.negatives = "same_clip"  # other_clips, mixed; for cosine_bce
    config.temperature = 0.07  # for contrastive
    config.windows_per_clip = 1
    config.silence_weight = 1.0  # how often windows without speech are drawn, speech being 1
    config.augment = 0.0

    config.optimiser = common.optimiser(1e-4)
    config.train = common.train(300_000, every=10_000)

    if variant == "published":
        return config
    if variant not in ("small_data", "tiny"):
        raise ValueError(
            f"configs/sync_expert.py has no variant {variant!r}; choose published, small_data, tiny"
        )
    config.loss = "contrastive"
    config.data.batch_size = 12
    config.windows_per_clip = 8
    config.silence_weight = 0.3
    config.model.width = 0.25
    config.model.dropout = 0.1
    config.augment = 0.5
    config.optimiser.learning_rate = 3e-3
    config.optimiser.weight_decay = 2e-2
    config.optimiser.warmup = 50
    config.optimiser.decay_steps = 1900
    config.train.steps = 1900
    config.train.log_every = 20
    config.train.validate_every = 250
    config.train.checkpoint_every = 250
    config.data.validation_clips = 0
    if variant == "tiny":
        config.model.width = 0.125
        config.model.dropout = 0.0
        config.data.batch_size = 4  # its pictures stay in a CPU's cache
        config.augment = 0.25
        config.data.threads = 2
        config.optimiser.warmup = 30
        config.optimiser.decay_steps = 330
        config.train.steps = 330
        config.train.validate_every = 165
    return config
