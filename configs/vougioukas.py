"""Temporal GANs (Vougioukas et al. 2018, 2020): a reference image and raw audio -> a talking face.

    python main.py --config=configs/vougioukas.py --workdir=runs/vougioukas --config.data.dir=DATA

Variants, e.g. `configs/vougioukas.py:size=tiny,system=l1`:

    size=published       the default
    size=pod             published, with a batch of 128 clips for 32 devices and more
    size=accelerator     published in bfloat16 with 16 clips a batch, for GPUs and TPUs
    size=small_data      narrow networks, for hundreds of clips
    size=tiny            narrow networks, for minutes on a CPU

    system=v2018         the default: discriminators of frames and of sequences
    system=v2020         the system of 2020: discriminators of frames, of motion and of sync
    system=l1            ablation of 2018: no discriminator
    system=frame         ablation of 2018: the frame discriminator alone
    system=no_recurrence ablation of 2018: `frame`, each frame from its own window of audio alone
    system=sequence      the sequence discriminator alone; in no table of the paper

Learning rates, loss weights and widths of the generator are the papers'. The papers leave open
batch, betas, widths of discriminators and the length of an epoch; these values are chosen here.

Paper: 2018, section 3.2 (discriminators of frames and of sequences); the system of 2020 has a paper
of its own.
Expected: `:small_data_l1` for 800 steps on GRID s1, test mouth_l1 0.0309 (lower is better;
static-image baseline 0.0352, mean-image 0.0268), 1.2 hours on a shared CPU (docs/results.md, which
also has the `tiny` ablations on rendered faces). `:published` and `:accelerator`: not measured.
"""

import ml_collections

from lipsync_jax.configs import common

VARIANTS = common.Variants(
    "vougioukas",
    {
        "size": ("published", "accelerator", "small_data", "tiny", "pod"),
        "system": ("v2018", "v2020", "l1", "frame", "sequence", "no_recurrence"),
    },
    # Names before version 0.2.
    aliases={
        "paper2018": "system=v2018",
        "successor": "system=v2020",
        "static": "system=no_recurrence",
    },
)
EPOCH = 4000  # deviation T4: steps of an epoch of GRID's training half, four clips a step


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; `variant` is the text after the colon on the command line."""
    chosen = VARIANTS.parse(variant)
    config = _v2018()
    if chosen.system == "v2020":
        _make_v2020(config)
    if chosen.system in ("l1", "sequence"):
        del config.discriminators.frame
    if chosen.system in ("l1", "frame", "no_recurrence"):
        del config.discriminators.sequence
    config.model.recurrent = chosen.system != "no_recurrence"
    if chosen.size == "pod":
        common.set_pod(config, batch_size=128, linear=not config.discriminators)
    elif chosen.size == "accelerator":
        common.set_accelerator(config, batch_size=16)
    elif chosen.size != "published":
        _make_small(config, tiny=chosen.size == "tiny")
    discriminators = (f"{name}_discriminator" for name in config.discriminators)
    config.init_from = common.init_from("generator", *discriminators)
    return config


def _v2018() -> ml_collections.ConfigDict:
    config = common.recurrent_gan("vougioukas", ("generator",), min_frames=75, horizontal_flip=True)

    config.model = ml_collections.ConfigDict()
    config.model.image_size = (128, 96)
    config.model.width_mult = 1.0
    config.model.audio_rate = 16_000  # deviation T1: the rate of the corpus, 50 kHz for GRID
    config.model.audio_samples = 2560  # 0.16 s
    config.model.audio_encoder_channels = 16
    config.model.audio_size = 256
    config.model.context_size = 256
    config.model.noise_size = 10
    config.model.identity_size = 50
    config.model.recurrent = True
    config.noise_std = 0.775  # variance 0.6
    config.eval_noise_std = 0.33  # in validation, as in the published inference code

    config.loss = common.loss(
        l1=400.0,
        upper_half=0.0,  # the papers' L1 loss covers the lower half alone
        mouth=0.0,
    )
    config.optimizer = _optimizer(
        2e-4, lr_decay=0.9, lr_decay_from=20 * EPOCH, lr_decay_every=EPOCH
    )

    config.discriminators.frame = common.discriminator(
        weight=1.0,
        optimizer=_optimizer(1e-3, 0.9, 20 * EPOCH, EPOCH),
        model={"width_mult": 1.0},
        frames_per_clip=1,
    )
    config.discriminators.sequence = common.discriminator(
        weight=1.0,
        optimizer=_optimizer(5e-5),
        model={
            "width_mult": 1.0,
            "audio_encoder_channels": 16,
            "audio_size": 256,
            "frame_size": 128,
            "hidden_size": 256,
        },
    )

    return config


def _make_v2020(config: ml_collections.ConfigDict) -> None:
    """Changes the system of 2018 to that of 2020."""
    config.model.audio_samples = 3200  # 0.2 s
    config.model.identity_size = 128
    config.loss.l1 = 600.0
    config.optimizer = _optimizer(1e-4, 0.98, 0, 10 * EPOCH)
    config.discriminators.frame.optimizer = _optimizer(1e-4, 0.98, 0, 10 * EPOCH)
    del config.discriminators.sequence
    config.discriminators.motion = common.discriminator(
        weight=0.2,
        optimizer=_optimizer(1e-5),
        model={"width_mult": 1.0, "frame_size": 128, "hidden_size": 256},
    )
    config.discriminators.sync = common.discriminator(
        weight=0.8,
        optimizer=_optimizer(1e-5),
        model={"width_mult": 1.0, "audio_encoder_channels": 16, "embedding_size": 256},
        frames_per_clip=1,
    )


def _make_small(config: ml_collections.ConfigDict, tiny: bool) -> None:
    """Narrows the networks, shortens the segments and raises the generator's rate."""
    config.model.width_mult = 1 / 8
    config.model.audio_encoder_channels = 8
    for discriminator in config.discriminators.values():
        discriminator.model.width_mult = 1 / 8
        discriminator.optimizer.learning_rate = 1e-4
    # Many short segments lower the validation error sooner than few long ones.
    frames = 10 if tiny else 8
    common.set_short_recurrent_gan(config, tiny, frames, frames)


def _optimizer(
    learning_rate: float, lr_decay: float = 1.0, lr_decay_from: int = 0, lr_decay_every: int = 0
) -> ml_collections.ConfigDict:
    """Returns Adam with b1 = 0.5 and a rate that falls by steps."""
    return common.optimizer(
        learning_rate,
        b1=0.5,
        lr_decay=lr_decay,
        lr_decay_from=lr_decay_from,
        lr_decay_every=lr_decay_every,
    )
