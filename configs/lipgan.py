"""LipGAN (KR et al. 2019): a generator and a discriminator of faces and audio, without an expert.

    python main.py --config=configs/lipgan.py --workdir=runs/lipgan --config.data.dir=DATA

Arguments, e.g. `:size=tiny,system=mel`:

    size=published  the default
    size=tiny       an eighth of the width, for minutes on a CPU

    system=mfcc     the default: MFCCs, as in the first branch of the published code
    system=mel      the second branch: the log-mel spectrogram of Wav2Lip
    system=unet     the first branch's other script: no discriminator, ten times the learning rate

`--config.model.residual=False` selects the smaller generator of each branch.

Paper: section 3.2 (generator), section 3.3 (discriminator and losses).
Expected: `:tiny` on GRID s1, test mouth_l1 0.0225 (lower is better; mean-image baseline 0.0238),
0.2 hours on one CPU core (docs/results.md). `:published`: not measured.
"""

import ml_collections

from lipsync_jax.configs import common

VARIANTS = common.Variants(
    "lipgan",
    {"size": ("published", "tiny"), "system": ("mfcc", "mel", "unet")},
    aliases={"tiny_published": "size=tiny"},
)

KERAS_EPS = 1e-7  # of Keras' Adam, which adds it before the bias correction: deviation L1


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; `variant` is the text after the colon on the command line."""
    chosen = VARIANTS.parse(variant)
    config = _published()
    if chosen.system == "mel":
        config.model.audio_features = "mel"
    if chosen.system == "unet":
        config.discriminators = ml_collections.ConfigDict()
        config.init_from = common.init_from("generator")
        config.optimizer.learning_rate = 1e-3
    if chosen.size == "tiny":
        _make_tiny(config)
    return config


def _published() -> ml_collections.ConfigDict:
    config = common.experiment("lipgan", trained_networks=("generator", "discriminator"))
    config.data = common.data(
        "face96", batch_size=96, validation_clips=512, validation_batch_size=16
    )
    config.frames_per_clip = 1  # single frames of each clip of a batch
    config.augment_magnitude = 0.0

    config.model = ml_collections.ConfigDict()
    config.model.audio_features = "mfcc"  # or mel
    config.model.residual = True
    config.model.width_mult = 1.0
    config.model.depth_mult = 1.0

    config.loss = common.loss(lower_half=1.0)
    config.discriminators = ml_collections.ConfigDict()
    config.discriminators.distance = common.discriminator(
        weight=0.01,  # the L1 loss has 1
        optimizer=common.optimizer(1e-4, eps=KERAS_EPS),
        model={"width_mult": 1.0},
    )
    config.optimizer = common.optimizer(1e-4, eps=KERAS_EPS)
    config.train = common.train(300_000, every=3000)
    return config


def _make_tiny(config: ml_collections.ConfigDict) -> None:
    """Sets narrow networks without residual blocks, small batches and a higher learning rate."""
    config.model.width_mult = 0.125
    config.model.depth_mult = 0.0
    config.data.batch_size = 10  # images of 10 clips fit a CPU's cache
    config.data.validation_clips = 0
    config.frames_per_clip = 2
    config.loss.lower_half = 4.0
    config.optimizer.learning_rate = 1e-2
    config.optimizer.warmup_steps = 50
    for discriminator in config.discriminators.values():
        discriminator.model.width_mult = 0.125
        discriminator.optimizer.learning_rate = 1e-3
    common.set_short_run(config, steps=900, every=150)
