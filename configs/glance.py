"""Lip Movements Generation at a Glance (Chen et al. 2018): image and audio -> 16 frames of lips.

    python main.py --config=configs/glance.py --workdir=runs/glance --config.data.dir=DATA \\
        --config.frozen.autoencoder.checkpoint=runs/autoencoder

The autoencoder is a run of configs/glance_autoencoder.py. Variants are `[tiny_]system`; `tiny` is
for minutes on a CPU, `:tiny` is `:tiny_full`. Systems are the rows of the paper's table 2; `full`,
the default, is its (e):

    a  the adversarial term alone               f  audio and frames correlate, not their changes
    b  the absolute error alone                 g  discriminator without the motion stream
    c  both                                     h  (g) without the correlation term
    d  both and the perceptual term             i  differences of frames instead of optical flow

`a`, `b` and `c` have no `config.frozen.autoencoder`. The weights are the paper's; rates, betas,
decay and batch are those of its published code.

Result: tiny forms on GRID s1, docs/results.md; `full` at the published size is not measured.
"""

import ml_collections

from lipsync_jax.configs import common

SYSTEMS = ("full", *"abcdefghi")


def get_config(variant: str = "full") -> ml_collections.ConfigDict:
    """The experiment; `variant` is what follows the colon on the command line."""
    system = "full" if variant == "tiny" else variant.removeprefix("tiny_")
    if system not in SYSTEMS:
        raise ValueError(
            f"configs/glance.py has no variant {variant!r}; choose one of {', '.join(SYSTEMS)}, "
            "or put tiny_ before it"
        )
    config = _full()
    if system in ("a", "b", "c", "d", "h"):
        config.correlation.weight = 0.0
    if system in ("a", "b", "c"):
        config.perceptual_weight = 0.0
        del config.frozen.autoencoder
    if system == "a":
        config.pixel_weight = 0.0
    if system == "b":
        config.adversarial.weight = 0.0
    if system == "f":
        config.correlation.derivative = False
    if system in ("g", "h"):
        config.adversarial.model.motion = "none"
    if system == "i":
        config.adversarial.model.motion = "difference"
    if variant.startswith("tiny"):
        _make_tiny(config)
    return config


def _full() -> ml_collections.ConfigDict:
    config = common.experiment(
        "glance", learning=("generator", "sound_encoder", "motion_encoder", "discriminator")
    )
    config.data = common.data("lips64", batch_size=24)  # clips of 16 frames

    config.frozen.autoencoder = common.frozen("glance_autoencoder", "autoencoder")

    config.sound_mean = 60.0  # dB; 0 and 1 in the published code
    config.sound_scale = 30.0
    config.flow = "farneback"  # or horn_schunck, lucas_kanade

    config.model = ml_collections.ConfigDict()
    config.model.width = 1.0
    config.model.residual_blocks = 9
    config.model.residual_time = 1
    config.model.audio_tail = "pool"
    config.model.head_size = 7
    config.model.head_edges = "zeros"
    config.optimiser = common.optimiser(2e-4, b1=0.5)

    config.pixel_weight = 0.5
    config.perceptual_weight = 1.0

    config.correlation = ml_collections.ConfigDict()
    config.correlation.weight = 1.0
    config.correlation.derivative = True
    config.correlation.profile = True  # one number a step is compared; False: all features
    config.correlation.width = 1.0  # of the sound's encoder
    config.correlation.optimiser = common.optimiser(1e-4, l2=5e-4)

    config.adversarial = ml_collections.ConfigDict()
    config.adversarial.weight = 1.0
    config.adversarial.drawn_share = 0.5  # of the discriminator's own loss, beside real clips' 1
    config.adversarial.mismatched_share = 0.5
    config.adversarial.model = ml_collections.ConfigDict()
    config.adversarial.model.motion = "flow"
    config.adversarial.model.width = 1.0
    config.adversarial.optimiser = common.optimiser(2e-4, b1=0.5)

    config.train = common.train(400_000, every=4000, patience=10)
    return config


def _make_tiny(config: ml_collections.ConfigDict) -> None:
    """Narrow and shallow networks, cheaper flow, and a quicker generator."""
    config.model.width = config.correlation.width = config.adversarial.model.width = 1 / 8
    config.model.residual_blocks = 2
    config.model.head_size = 3  # the published one takes half of a step's time
    config.flow = "lucas_kanade"
    config.data.batch_size = 4
    config.data.threads = 2
    config.data.validation_clips = 16
    # Quick enough to hear within a few hundred steps.
    config.optimiser.learning_rate = 5e-3
    config.optimiser.b1 = 0.9
    config.optimiser.warmup = 30
    config.optimiser.decay_steps = 300
    # At first the error's gradient at the frames is some 4000 times smaller than the
    # discriminator's, and 1000 times smaller than the codes': noise that only many steps average.
    config.pixel_weight *= 20_000
    config.train.steps = 300
    config.train.log_every = 20
    config.train.validate_every = 100
    config.train.checkpoint_every = 100
    config.train.patience = 0
