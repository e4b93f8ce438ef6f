"""The temporal GAN of Jain et al.: image and MFCCs of any length -> video of a face.

    python main.py --config=configs/jain.py --workdir=runs/jain --config.data.dir=DATA

Variants, e.g. `configs/jain.py:size=tiny,system=l1`:

    size=published   the default; the text names no reconstruction loss, and the generator's rate
                     of 2e-3 is high
    size=small_data  with the L1 loss of Vougioukas et al. 2018 and a rate that falls; an eighth of
                     the width
    size=tiny        `small_data` for minutes on a CPU

    system=full      the default
    system=l1        the L1 loss of Vougioukas et al. 2018 alone, without discriminators

Result: `:small_data_l1` on GRID s1, docs/results.md; `:published` is not measured.
"""

import ml_collections

from lipsync_jax.configs import common

DISCRIMINATORS = ("frame_discriminator", "sequence_discriminator")
VARIANTS = common.Variants(
    "jain", {"size": ("published", "small_data", "tiny"), "system": ("full", "l1")}
)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; `variant` is the text after the colon on the command line."""
    chosen = VARIANTS.parse(variant)
    config = _published()
    if chosen.size != "published":
        _make_small(config, tiny=chosen.size == "tiny")
    if chosen.system == "l1":
        config.loss.l1 = 400.0
        config.discriminators = ml_collections.ConfigDict()
        config.init_from = common.init_from("generator")
    return config


def _published() -> ml_collections.ConfigDict:
    config = common.experiment("jain", trained_networks=("generator", *DISCRIMINATORS))
    config.frame_rate = 25

    config.data = common.data(
        "aligned128x96", batch_size=4, validation_batch_size=4, validation_frames=75
    )

    config.length_buckets = (25, 50, 75)  # frames; a batch is padded to the next of these lengths
    config.min_frames = 25  # frames of a training example, unless its clip has fewer
    config.max_frames = 75
    config.reference_frame = "segment"  # reference image: first frame of the "segment" or "clip"
    config.horizontal_flip = False

    config.model = ml_collections.ConfigDict()
    config.model.image_size = (128, 96)
    config.model.width_mult = 1.0
    config.model.audio_width_mult = 1.0
    config.model.audio_size = 256
    config.model.context_size = 256
    config.model.noise_size = 10
    config.model.noise_layers = 2
    config.model.identity_size = 50
    config.audio_std = 25.0  # MFCCs divided by this number have a deviation of about 1
    config.noise_std = 0.77
    config.eval_noise_std = 0.33  # in validation, as in the inference of Vougioukas et al.

    config.loss = common.loss(l1=0.0, upper_half=0.0, mouth=0.0)
    config.optimizer = common.optimizer(2e-3, b1=0.5)

    # Validation's `motion_corr` at which discriminators become active; 0: from the start, as in the
    # paper.
    config.adversarial_start_corr = 0.0
    config.discriminators = ml_collections.ConfigDict()
    config.discriminators.frame = common.discriminator(
        weight=1.0,
        optimizer=common.optimizer(2e-5, b1=0.5),
        model={"width_mult": 1.0},
        frames_per_clip=1,
    )
    config.discriminators.sequence = common.discriminator(
        weight=1.0,
        optimizer=common.optimizer(2e-5, b1=0.5),
        model={
            "width_mult": 1.0,
            "audio_width_mult": 1.0,
            "audio_size": 256,
            "frame_size": 128,
            "hidden_size": 256,
        },
    )

    config.train = common.train(400_000, every=4000, early_stopping_patience=10)
    return config


def _make_small(config: ml_collections.ConfigDict, tiny: bool) -> None:
    """Narrows the networks, shortens the segments and raises the generator's rate."""
    width = 1 / 8
    config.model.width_mult = config.model.audio_width_mult = width
    config.discriminators.frame.model.width_mult = width
    config.discriminators.sequence.model.width_mult = width
    config.discriminators.sequence.model.audio_width_mult = width
    config.data.batch_size = 8 if tiny else 12
    config.min_frames, config.max_frames = (8, 12) if tiny else (6, 10)
    config.length_buckets = (config.max_frames, 75)
    config.data.num_threads = 2
    config.data.validation_clips = 16 if tiny else 0
    config.loss.l1 = 400.0
    config.loss.upper_half = 0.25  # with discriminators alone the upper half converges slowly
    config.train.steps = 300 if tiny else 1000
    config.optimizer.learning_rate = 4e-3
    config.optimizer.warmup_steps = 20
    config.optimizer.lr_decay_steps = config.train.steps
    config.train.log_every = 20
    config.train.validate_every = 100 if tiny else 200
    config.train.checkpoint_every = config.train.validate_every
    config.train.early_stopping_patience = 0
    if not tiny:
        # The mouth in the clip's first frame differs from the segment's: only audio predicts it.
        config.reference_frame = "clip"
        config.optimizer.learning_rate = 2e-3
        config.adversarial_start_corr = 0.15
        config.loss.mouth = 2.0
