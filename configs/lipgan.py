"""LipGAN (KR et al. 2019): a generator and a discriminator of faces and audio, without an expert.

    python main.py --config=configs/lipgan.py --workdir=runs/lipgan --config.data.dir=DATA

Variants are `[tiny_]branch`; `tiny` is for minutes on a CPU, `:tiny` is `:tiny_published`:

    published  the default: MFCCs, as the first branch of the published code
    mel        the second branch: the mel spectrum of Wav2Lip
    unet       the first branch without a discriminator, at ten times the rate, as its other script

`--config.model.residual=False` selects the smaller generator of each branch.

Result: `:tiny` on GRID s1, mouth error 0.0225, 14 minutes on one CPU core (docs/results.md);
the published size is not measured.
"""

import ml_collections

from lipsync_jax.configs import common

BRANCHES = ("published", "mel", "unet")


def get_config(variant: str = "published") -> ml_collections.ConfigDict:
    """The experiment; `variant` is what follows the colon on the command line."""
    branch = "published" if variant == "tiny" else variant.removeprefix("tiny_")
    if branch not in BRANCHES:
        raise ValueError(
            f"configs/lipgan.py has no variant {variant!r}; choose one of {', '.join(BRANCHES)}, "
            "or put tiny_ before it"
        )
    config = _published()
    if branch == "mel":
        config.model.sound = "mel"
    if branch == "unet":
        config.adversarial.weight = 0.0
        config.optimiser.learning_rate = 1e-3
    if variant.startswith("tiny"):
        _make_tiny(config)
    return config


def _published() -> ml_collections.ConfigDict:
    config = common.experiment("lipgan", learning=("generator", "discriminator"))
    config.data = common.data(
        "face96", batch_size=96, validation_clips=512, validation_batch_size=16
    )

    config.model = ml_collections.ConfigDict()
    config.model.sound = "mfcc"  # or mel
    config.model.residual = True
    config.model.width = 1.0
    config.model.depth = 1.0

    config.frames_per_clip = 1  # single frames of a clip in each batch
    config.augment = 0.0
    config.lower_half_weight = 1.0  # of the L1 loss below the middle of the face; published: 1
    config.optimiser = common.optimiser(1e-4)

    config.adversarial = ml_collections.ConfigDict()
    config.adversarial.weight = 0.01  # beside the L1 loss's 1; 0: no discriminator
    config.adversarial.width = 1.0
    config.adversarial.optimiser = common.optimiser(1e-4)

    config.train = common.train(300_000, every=3000)
    return config


def _make_tiny(config: ml_collections.ConfigDict) -> None:
    """Narrow networks without residual blocks, few pictures a step, a quicker generator."""
    config.model.width = config.adversarial.width = 0.125
    config.model.depth = 0.0
    config.data.batch_size = 10  # its pictures stay in a CPU's cache
    config.data.threads = 2
    config.data.validation_clips = 0
    config.frames_per_clip = 2
    config.lower_half_weight = 4.0
    config.optimiser.learning_rate = 1e-2
    config.optimiser.warmup = 50
    config.optimiser.decay_steps = 900
    config.adversarial.optimiser.learning_rate = 1e-3
    config.train.steps = 900
    config.train.log_every = 20
    config.train.validate_every = 150
    config.train.checkpoint_every = 150
