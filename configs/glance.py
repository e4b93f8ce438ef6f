"""Lip Movements Generation at a Glance (Chen et al. 2018): image and audio -> 16 frames of lips.

    python main.py --config=configs/glance.py --workdir=runs/glance --config.data.dir=DATA \\
        --config.frozen.autoencoder.checkpoint=runs/autoencoder

The autoencoder is a run of configs/glance_autoencoder.py. Variants, e.g.
`configs/glance.py:size=tiny,system=table2_b`: `size=published` (the default), `size=accelerator`
(published in bfloat16 with 48 clips a batch, for GPUs and TPUs) or `size=tiny` (for minutes on a
CPU); `flow=by_size` (the default) or `flow=flownet`, see below; and as `system` the rows of the
paper's table 2:

    full      the default, row (e); its flow is Farneback's, with flow=flownet the paper's
    table2_a  the adversarial term alone
    table2_b  the absolute error alone
    table2_c  both
    table2_d  both and the perceptual term
    table2_f  correlation of audio and frames, not of their changes
    table2_g  discriminator without the motion stream
    table2_h  (g) without the correlation term
    table2_i  differences of frames instead of optical flow

`table2_a` to `table2_c` have no `config.frozen.autoencoder`. With `flow=by_size` flow is computed
without weights (Farneback's, Horn and Schunck's or Lucas and Kanade's method). With `flow=flownet`
it is that of FlowNetS, as in the paper (section 4.2):

    python main.py --config=configs/glance.py:flow=flownet --workdir=runs/glance \\
        --config.data.dir=DATA --config.frozen.autoencoder.checkpoint=runs/autoencoder \\
        --config.frozen.flownet.checkpoint=runs/flownet_lips

The checkpoint is a run of configs/flownet_lips.py, pre-trained on synthetic pairs and fine-tuned on
lips; `--config.flow_trainable=True` trains it further with the generator, as the published code.
`table2_b` and `table2_h` use no flow. The weights are the paper's; rates,
betas, decay and batch are those of its published code.

Paper: section 3.1 (generator), section 3.2 and eq. 1 (correlation), section 4.1 (perceptual term),
section 4.2 (discriminator, flow), eq. 2 to 4 (losses).
Expected: `:tiny`, 80 steps after 1600 of `:tiny_table2_b`, on GRID s1, test LMD 1.28 pixels (lower
is better; static-image baseline 1.37, mean-image 1.22; docs/results.md). `:published`: not
measured.
"""

import ml_collections

from lipsync_jax.configs import common

VARIANTS = common.Variants(
    "glance",
    {
        "size": ("published", "accelerator", "tiny"),
        "system": ("full", *(f"table2_{row}" for row in "abcdfghi")),
        "flow": ("by_size", "flownet"),
    },
    aliases={
        "table2_e": "system=full",
        # Names before version 0.2.
        **{row: f"system=table2_{row}" for row in "abcdfghi"},
        "e": "system=full",
    },
)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; `variant` is the text after the colon on the command line."""
    chosen = VARIANTS.parse(variant)
    system = chosen.system.removeprefix("table2_")
    config = _full()
    if system in ("a", "b", "c", "d", "h"):
        config.correlation.weight = 0.0
    if system in ("a", "b", "c"):
        config.loss.perceptual = 0.0
        del config.frozen.autoencoder
    if system == "a":
        config.loss.l1 = 0.0
    if system == "f":
        config.correlation.derivative = False
    if system in ("g", "h"):
        config.discriminators.clip.model.motion = "none"
    if system == "i":
        config.discriminators.clip.model.motion = "difference"
    if chosen.size == "accelerator":
        common.set_accelerator(config, batch_size=48)
    if chosen.size == "tiny":
        _make_tiny(config)
    if system == "b":
        del config.discriminators.clip
    if chosen.flow == "flownet":
        config.flow = "flownet"
        if system not in ("b", "h"):  # which use no flow
            config.frozen.flownet = common.frozen("flownet", "flownet", config="flownet_lips")
            config.init_from.flownet_tuned = ""  # of another run; else flownet's weights
    return config


def _full() -> ml_collections.ConfigDict:
    config = common.experiment(
        "glance", trained_networks=("generator", "audio_encoder", "motion_encoder", "discriminator")
    )
    config.data = common.data("lips64", batch_size=24)  # clips of 16 frames
    config.segment_hop = 8  # frames between the starts of a clip's training windows; 1: any start

    config.frozen.autoencoder = common.frozen("glance_autoencoder", "autoencoder")

    config.audio_mean = 60.0  # dB; 0 and 1 in the published code: deviation G10
    config.audio_std = 30.0
    # Or horn_schunck, lucas_kanade; flownet needs the variant; deviation G5.
    config.flow = "farneback"
    config.flow_trainable = False  # whether flownet is trained further with the generator
    config.flow_optimizer = common.optimizer(1e-4, weight_decay_l2=4e-4)

    config.model = ml_collections.ConfigDict()
    config.model.width_mult = 1.0
    config.model.residual_blocks = 9
    config.model.residual_kernel_t = 1
    config.model.audio_downsample = "pool"  # deviation G3
    config.model.output_kernel = 7
    config.model.output_padding_mode = "zeros"
    config.optimizer = common.optimizer(2e-4, b1=0.5)

    config.loss = common.loss(l1=0.5, perceptual=1.0)  # deviation G4

    config.correlation = ml_collections.ConfigDict()
    config.correlation.weight = 1.0
    config.correlation.derivative = True
    # False: the features are compared one by one; deviation G8
    config.correlation.mean_over_features = True
    config.correlation.width_mult = 1.0  # of the audio encoder
    config.correlation.optimizer = common.optimizer(1e-4, weight_decay_l2=5e-4)

    config.discriminators = ml_collections.ConfigDict()
    config.discriminators.clip = common.discriminator(
        weight=1.0,
        optimizer=common.optimizer(2e-4, b1=0.5),
        model={"motion": "flow", "width_mult": 1.0},
        fake_weight=0.5,
        mismatched_weight=0.5,
    )

    config.train = common.train(400_000, every=4000, early_stopping_patience=10)
    return config


def _make_tiny(config: ml_collections.ConfigDict) -> None:
    """Sets narrow and shallow networks, cheaper flow, and a higher rate of the generator."""
    width = 1 / 8
    config.model.width_mult = config.correlation.width_mult = width
    config.discriminators.clip.model.width_mult = width
    config.model.residual_blocks = 2
    config.model.output_kernel = 3  # the published kernel takes half of the time of a step
    config.flow = "lucas_kanade"
    config.data.batch_size = 4
    config.segment_hop = 1
    config.data.validation_clips = 16
    # With this rate the generator follows the audio within a few hundred steps.
    config.optimizer.learning_rate = 5e-3
    config.optimizer.b1 = 0.9
    config.optimizer.warmup_steps = 30
    # At first the gradient of the absolute error by the frames is some 4000 times smaller than that
    # of the adversarial loss, and 1000 times smaller than that of the perceptual loss; only many
    # steps average out their noise.
    config.loss.l1 *= 20_000
    common.set_short_run(config, steps=300, every=100)
