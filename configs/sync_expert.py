"""Wav2Lip's lip-sync expert (Prajwal et al. 2020), which configs/wav2lip.py uses frozen.

    python main.py --config=configs/sync_expert.py --workdir=runs/expert --config.data.dir=DATA

Arguments, e.g. `:size=published,sampling=spaced`:

    size=published   the default: full width, binary cross-entropy of the cosine, as in the paper
    size=pod         published, with a batch of 512 clips for 32 devices and more
    size=accelerator published in bfloat16 with 512 windows a batch, for GPUs and TPUs
    size=large_batch accelerator with InfoNCE over the 1,024 windows of all devices' batch
    size=small_data  a quarter of the width, InfoNCE, regularised; for minutes to hours of video
    size=in_the_box  small_data for unseen people: many faces, rooms and cameras
    size=tiny        an eighth of the width, for synthetic faces, minutes on a CPU (`lipsync demo`)

    sampling=by_size    the default: spaced for small_data, in_the_box and tiny, else reference
    sampling=reference  as the published code: a negative is any other window of the clip, even one
                        frame away; windows whose audio is not all inside of the clip are rejected
    sampling=spaced     negatives are at least 5 frames away; missing audio is silence

Paper: section 3.3. Deviations: docs/explanation/deviations.md.
Expected: `:small_data` on GRID s1, balanced accuracy 0.926 on the test clips (higher is better;
chance 0.5), hours not measured (docs/results.md). `:published`, `:accelerator` and `:large_batch`:
not measured.
"""

import ml_collections

from lipsync_jax.configs import common

VARIANTS = common.Variants(
    "sync_expert",
    {
        "size": (
            "published",
            "accelerator",
            "large_batch",
            "small_data",
            "in_the_box",
            "tiny",
            "pod",
        ),
        "sampling": common.SAMPLING,
    },
)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; `variant` is the text after the colon on the command line."""
    chosen = VARIANTS.parse(variant)
    size = chosen.size
    # Learning rate: deviation W5.
    config = common.sync_expert("sync_expert", "face96", batch_size=64, learning_rate=1e-4)
    config.model = ml_collections.ConfigDict()
    config.model.width_mult = 1.0
    config.model.depth_mult = 1.0
    config.model.dropout = 0.0
    config.model.relu_embedding = True  # False allows negative cosines, which suits info_nce
    common.set_window_sampling(config, chosen.sampling, size)
    if size == "pod":
        common.set_pod(config, batch_size=512)
    elif size in ("accelerator", "large_batch"):
        common.set_accelerator(config, batch_size=512)
    elif size != "published":
        _make_small(config, tiny=size == "tiny")
    if size == "large_batch":
        config.objective = "info_nce"  # negatives are the other windows of the global batch
        config.data.batch_size = 1024
        config.model.relu_embedding = False
        config.optimizer.warmup_steps = 1000
    if size == "in_the_box":
        _make_in_the_box(config)
    return config


def _make_small(config: ml_collections.ConfigDict, tiny: bool) -> None:
    """Sets narrow networks, the InfoNCE objective, and short runs."""
    config.objective = "info_nce"
    config.data.batch_size = 4 if tiny else 12  # images of 4 clips fit a CPU's cache
    config.data.validation_clips = 0
    config.windows_per_clip = 8
    config.silence_sampling_weight = 0.3
    config.augment_magnitude = 0.25 if tiny else 0.5
    config.model.width_mult = 0.125 if tiny else 0.25
    config.model.dropout = 0.0 if tiny else 0.1
    config.optimizer.learning_rate = 3e-3
    config.optimizer.weight_decay = 2e-2
    config.optimizer.warmup_steps = 30 if tiny else 50
    config.train.steps = 330 if tiny else 1900
    config.optimizer.lr_decay_steps = config.train.steps
    config.train.log_every = 20
    config.train.validate_every = 165 if tiny else 250
    config.train.checkpoint_every = 250


def _make_in_the_box(config: ml_collections.ConfigDict) -> None:
    """Sets what the built-in expert was trained with: one core for an hour."""
    config.objective = "info_nce_in_clip"
    config.data.batch_size = 6
    config.model.depth_mult = 0.25
    config.augment_magnitude = 0.5
    config.degrade_magnitude = 0.4
    config.optimizer.learning_rate = 2.5e-3
    config.optimizer.lr_decay_steps = 1500
    config.train.steps = 1500
    config.train.validate_every = 100
    config.train.checkpoint_every = 50
