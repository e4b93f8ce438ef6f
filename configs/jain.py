"""The temporal GAN of Jain et al.: image and MFCCs of any length -> video of a face.

    python main.py --config=configs/jain.py --workdir=runs/jain --config.data.dir=DATA

Variants:

    published      the default; the text names no reconstruction loss, and the generator's rate of
                   2e-3 is high
    small_data     with the L1 loss of Vougioukas et al. 2018 and a rate that falls; an eighth of
                   the width
    tiny           `small_data` for minutes on a CPU
    small_data_l1, tiny_l1   these two without discriminators

Result: `:small_data_l1` on GRID s1, docs/results.md; `:published` is not measured.
"""

import ml_collections

from lipsync_jax.configs import common

PLAYERS = ("frame_discriminator", "sequence_discriminator")
VARIANTS = ("published", "small_data", "small_data_l1", "tiny", "tiny_l1")


def get_config(variant: str = "published") -> ml_collections.ConfigDict:
    """The experiment; `variant` is what follows the colon on the command line."""
    config = common.experiment("jain", learning=("generator", *PLAYERS))
    config.frame_rate = 25

    config.data = common.data(
        "aligned128x96", batch_size=4, validation_batch_size=4, validation_frames=75
    )

    config.lengths = (25, 50, 75)  # frames; batches are filled up to the next of these
    config.shortest = 25  # frames a training example has, unless its clip has fewer
    config.longest = 75
    config.still_of = "stretch"  # whose first frame is the still: the example's, or the "clip"'s
    config.mirror = False

    config.model = ml_collections.ConfigDict()
    config.model.image_size = (128, 96)
    config.model.width = 1.0
    config.model.audio_width = 1.0
    config.model.audio_size = 256
    config.model.context_size = 256
    config.model.noise_size = 10
    config.model.noise_layers = 2
    config.model.identity_size = 50
    config.mfcc_scale = 25.0  # brings the coefficients to about 1
    config.noise_std = 0.77
    config.sample_noise_std = 0.33  # of validation, as Vougioukas et al. draw it at inference

    config.l1_weight = 0.0
    config.upper_half_weight = 0.0  # of the L1 loss
    config.mouth_weight = 0.0  # likewise
    config.optimiser = common.optimiser(2e-3, b1=0.5)

    # Correlation of the mouth's motion with the real one, in validation, from which discriminators
    # play a part; 0: from the start, as in the paper.
    config.judged_from = 0.0
    config.judges = ml_collections.ConfigDict()
    config.judges.frame = ml_collections.ConfigDict()
    config.judges.frame.weight = 1.0
    config.judges.frame.samples = 1  # frames of a clip it is shown
    config.judges.frame.model = ml_collections.ConfigDict({"width": 1.0})
    config.judges.sequence = ml_collections.ConfigDict()
    config.judges.sequence.weight = 1.0
    config.judges.sequence.model = ml_collections.ConfigDict()
    config.judges.sequence.model.width = 1.0
    config.judges.sequence.model.audio_width = 1.0
    config.judges.sequence.model.audio_size = 256
    config.judges.sequence.model.frame_size = 128
    config.judges.sequence.model.hidden_size = 256
    for judge in config.judges.values():
        judge.optimiser = common.optimiser(2e-5, b1=0.5)

    config.train = common.train(400_000, every=4000, patience=10)

    if variant == "published":
        return config
    if variant not in VARIANTS:
        raise ValueError(
            f"configs/jain.py has no variant {variant!r}; choose one of {', '.join(VARIANTS)}"
        )
    tiny = variant.startswith("tiny")
    width = 1 / 8
    config.model.width = config.model.audio_width = width
    config.judges.frame.model.width = width
    config.judges.sequence.model.width = config.judges.sequence.model.audio_width = width
    config.data.batch_size = 8 if tiny else 12
    config.shortest, config.longest = (8, 12) if tiny else (6, 10)
    config.lengths = (config.longest, 75)
    config.data.threads = 2
    config.data.validation_clips = 16 if tiny else 0
    config.l1_weight = 400.0
    config.upper_half_weight = 0.25  # discriminators alone need long to draw the upper half
    config.train.steps = 300 if tiny else 1000
    config.optimiser.learning_rate = 4e-3
    config.optimiser.warmup = 20
    config.optimiser.decay_steps = config.train.steps
    config.train.log_every = 20
    config.train.validate_every = 100 if tiny else 200
    config.train.checkpoint_every = config.train.validate_every
    config.train.patience = 0
    if not tiny:
        # A mouth that says something else than the still's: only the sound tells what.
        config.still_of = "clip"
        config.optimiser.learning_rate = 2e-3
        config.judged_from = 0.15
        config.mouth_weight = 2.0
    if variant.endswith("_l1"):
        config.judges = ml_collections.ConfigDict()
        config.start_from = common.start_from("generator")
    return config
