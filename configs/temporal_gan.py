"""Temporal GANs (Vougioukas et al. 2018, 2020): a reference image and raw audio -> a talking face.

    python main.py --config=configs/temporal_gan.py --workdir=runs/tgan --config.data.dir=DATA

Variants are `[size_]system`. Systems:

    paper2018  the default: discriminators of frames and of sequences
    successor  the system of 2020: discriminators of frames, of motion and of sync
    l1         ablation of 2018: no discriminator
    frame      ablation of 2018: the frame discriminator alone
    static     ablation of 2018: `frame`, each frame generated from its own window of audio alone
    sequence   the sequence discriminator alone; in no table of the paper

Sizes: `small_data` for hundreds of clips, `tiny` for minutes on a CPU; `:tiny` is
`:tiny_paper2018`.

Learning rates, loss weights and widths of the generator are the papers'. The papers leave open
batch, betas, widths of discriminators and an epoch's length; these values are ours.

Result: `:small_data_l1` on GRID s1 and the `tiny` ablations on rendered faces, docs/results.md; the
published size is not measured.
"""

import ml_collections

from lipsync_jax.configs import common

SYSTEMS = ("paper2018", "successor", "l1", "frame", "sequence", "static")
SIZES = ("small_data", "tiny")
EPOCH = 4000  # steps in which four clips at a time go through GRID's training half


def get_config(variant: str = "paper2018") -> ml_collections.ConfigDict:
    """The experiment; `variant` is what follows the colon on the command line."""
    size, system = _parse(variant)
    config = _paper2018()
    if system == "successor":
        _make_successor(config)
    if system in ("l1", "sequence"):
        del config.judges.frame
    if system in ("l1", "frame", "static"):
        del config.judges.sequence
    config.model.recurrent = system != "static"
    if size:
        _make_small(config, tiny=size == "tiny")
    discriminators = (f"{name}_discriminator" for name in config.judges)
    config.start_from = common.start_from("generator", *discriminators)
    return config


def _parse(variant: str) -> tuple[str, str]:
    """Size and system of a variant's name."""
    for size in SIZES:
        if variant == size:
            return size, "paper2018"
        if variant.removeprefix(f"{size}_") in SYSTEMS and variant.startswith(size):
            return size, variant.removeprefix(f"{size}_")
    if variant in SYSTEMS:
        return "", variant
    raise ValueError(
        f"configs/temporal_gan.py has no variant {variant!r}; choose one of {', '.join(SYSTEMS)}, "
        f"or put {' or '.join(f'{size}_' for size in SIZES)} before it"
    )


def _paper2018() -> ml_collections.ConfigDict:
    config = common.experiment("temporal_gan", learning=("generator",))
    config.frame_rate = 25

    config.data = common.data(
        "aligned128x96", batch_size=4, validation_batch_size=4, validation_frames=75
    )

    config.lengths = (25, 50, 75)  # frames; batches are filled up to the next of these
    config.shortest = 75  # frames a training example has, unless its clip has fewer
    config.longest = 75
    config.still_of = "stretch"  # whose first frame is the still: the example's, or the "clip"'s
    config.mirror = True

    config.model = ml_collections.ConfigDict()
    config.model.image_size = (128, 96)
    config.model.width = 1.0
    config.model.audio_rate = 16_000  # published: the corpus' own, 50 kHz for GRID
    config.model.audio_samples = 2560  # 0.16 s
    config.model.audio_features = 16
    config.model.audio_size = 256
    config.model.context_size = 256
    config.model.noise_size = 10
    config.model.identity_size = 50
    config.model.recurrent = True
    config.noise_std = 0.775  # variance 0.6
    config.sample_noise_std = 0.33  # of validation, as the published inference has it

    config.l1_weight = 400.0
    config.upper_half_weight = 0.0  # of the L1 loss; the papers look at the lower half only
    config.mouth_weight = 0.0  # likewise
    config.optimiser = _adam(2e-4, decay=0.9, decay_from=20 * EPOCH, decay_every=EPOCH)

    # Correlation of the mouth's motion with the real one, in validation, from which discriminators
    # play a part; 0: from the start, as in the paper.
    config.judged_from = 0.0
    config.judges = ml_collections.ConfigDict()
    config.judges.frame = ml_collections.ConfigDict()
    config.judges.frame.weight = 1.0
    config.judges.frame.samples = 1  # frames of a clip it is shown
    config.judges.frame.model = ml_collections.ConfigDict({"width": 1.0})
    config.judges.frame.optimiser = _adam(1e-3, 0.9, 20 * EPOCH, EPOCH)
    config.judges.sequence = ml_collections.ConfigDict()
    config.judges.sequence.weight = 1.0
    config.judges.sequence.model = ml_collections.ConfigDict()
    config.judges.sequence.model.width = 1.0
    config.judges.sequence.model.audio_features = 16
    config.judges.sequence.model.audio_size = 256
    config.judges.sequence.model.frame_size = 128
    config.judges.sequence.model.hidden_size = 256
    config.judges.sequence.optimiser = _adam(5e-5)

    config.train = common.train(100 * EPOCH, every=EPOCH, patience=10)
    return config


def _make_successor(config: ml_collections.ConfigDict) -> None:
    """The system of 2020."""
    config.model.audio_samples = 3200  # 0.2 s
    config.model.identity_size = 128
    config.l1_weight = 600.0
    config.optimiser = _adam(1e-4, 0.98, 0, 10 * EPOCH)
    config.judges.frame.optimiser = _adam(1e-4, 0.98, 0, 10 * EPOCH)
    del config.judges.sequence
    config.judges.motion = ml_collections.ConfigDict()
    config.judges.motion.weight = 0.2
    config.judges.motion.model = ml_collections.ConfigDict()
    config.judges.motion.model.width = 1.0
    config.judges.motion.model.frame_size = 128
    config.judges.motion.model.hidden_size = 256
    config.judges.motion.optimiser = _adam(1e-5)
    config.judges.sync = ml_collections.ConfigDict()
    config.judges.sync.weight = 0.8
    config.judges.sync.samples = 1
    config.judges.sync.model = ml_collections.ConfigDict()
    config.judges.sync.model.width = 1.0
    config.judges.sync.model.audio_features = 16
    config.judges.sync.model.embedding_size = 256
    config.judges.sync.optimiser = _adam(1e-5)


def _make_small(config: ml_collections.ConfigDict, tiny: bool) -> None:
    """Narrow networks, short stretches and a quicker generator."""
    config.model.width = 1 / 8
    config.model.audio_features = 8
    for judge in config.judges.values():
        judge.model.width = 1 / 8
        judge.optimiser.learning_rate = 1e-4
    config.data.batch_size = 8 if tiny else 12
    config.shortest = config.longest = 10 if tiny else 8  # many clips teach more than long ones
    config.lengths = (config.longest, 75)
    config.mirror = False
    config.data.threads = 2
    config.data.validation_clips = 16 if tiny else 0
    config.upper_half_weight = 0.25  # discriminators alone need long to draw the upper half
    config.optimiser = common.optimiser(4e-3, b1=0.5, warmup=20)
    config.train.steps = 300 if tiny else 1000
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


def _adam(
    learning_rate: float, decay: float = 1.0, decay_from: int = 0, decay_every: int = 0
) -> ml_collections.ConfigDict:
    """Adam with this project's b1 and a rate that falls by steps."""
    return common.optimiser(
        learning_rate, b1=0.5, decay=decay, decay_from=decay_from, decay_every=decay_every
    )
