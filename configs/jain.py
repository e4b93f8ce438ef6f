"""The temporal GAN of Jain et al.: image and MFCCs of any length -> video of a face.

    python main.py --config=configs/jain.py --workdir=runs/jain --config.data.dir=DATA

Variants, e.g. `configs/jain.py:size=tiny,system=l1`:

    size=published   the default; the text names no reconstruction loss, and the generator's rate
                     of 2e-3 is high
    size=accelerator published in bfloat16 with 16 clips a batch, for GPUs and TPUs
    size=small_data  with the L1 loss of Vougioukas et al. 2018 and a rate that falls; an eighth of
                     the width
    size=tiny        `small_data` for minutes on a CPU

    system=full      the default
    system=l1        the L1 loss of Vougioukas et al. 2018 alone, without discriminators

Paper: the sizes of layers that its text names; what it leaves open is in
docs/explanation/deviations.md.
Expected: `:small_data_l1` for 800 steps on GRID s1, test mouth_l1 0.0303 (lower is better;
static-image baseline 0.0352, mean-image 0.0268), 0.5 hours on one shared CPU core
(docs/results.md). `:published`: not measured.
"""

import ml_collections

from lipsync_jax.configs import common

DISCRIMINATORS = ("frame_discriminator", "sequence_discriminator")
VARIANTS = common.Variants(
    "jain", {"size": ("published", "accelerator", "small_data", "tiny"), "system": ("full", "l1")}
)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; `variant` is the text after the colon on the command line."""
    chosen = VARIANTS.parse(variant)
    config = _published()
    if chosen.size == "accelerator":
        common.set_accelerator(config, batch_size=16)
    elif chosen.size != "published":
        _make_small(config, tiny=chosen.size == "tiny")
    if chosen.system == "l1":
        config.loss.l1 = 400.0
        config.discriminators = ml_collections.ConfigDict()
        config.init_from = common.init_from("generator")
    return config


def _published() -> ml_collections.ConfigDict:
    networks = ("generator", *DISCRIMINATORS)
    # Aligned crops: deviation J3.
    config = common.recurrent_gan("jain", networks, min_frames=25, horizontal_flip=False)

    config.model = ml_collections.ConfigDict()
    config.model.image_size = (128, 96)
    config.model.width_mult = 1.0
    config.model.audio_width_mult = 1.0
    config.model.audio_size = 256
    config.model.context_size = 256
    config.model.noise_size = 10
    config.model.noise_layers = 2
    config.model.identity_size = 50
    config.audio_std = 25.0  # gives MFCCs a standard deviation of about 1; deviation J1
    config.noise_std = 0.77
    config.eval_noise_std = 0.33  # in validation, as in the inference of Vougioukas et al.

    config.loss = common.loss(l1=0.0, upper_half=0.0, mouth=0.0)
    config.optimizer = common.optimizer(2e-3, b1=0.5)  # betas, widths and batch: deviation J2

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

    return config


def _make_small(config: ml_collections.ConfigDict, tiny: bool) -> None:
    """Narrows the networks, shortens the segments and raises the generator's rate."""
    width = 1 / 8
    config.model.width_mult = config.model.audio_width_mult = width
    config.discriminators.frame.model.width_mult = width
    config.discriminators.sequence.model.width_mult = width
    config.discriminators.sequence.model.audio_width_mult = width
    config.loss.l1 = 400.0
    min_frames, max_frames = (8, 12) if tiny else (6, 10)
    common.set_short_recurrent_gan(config, tiny, min_frames, max_frames)
