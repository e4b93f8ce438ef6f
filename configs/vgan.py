"""VGAN (Vondrick et al. 2016) with audio, as the baseline of "At a Glance" (Chen et al. 2018).

    python main.py --config=configs/vgan.py --workdir=runs/vgan --config.data.dir=DATA

Variants: `:still` (the default) is conditioned on a reference image of the lips, as in their text;
`:released` is not, as in their published code. `tiny_` before either (`:tiny` is `:tiny_still`) is
for minutes on a CPU. Rates, betas and batch are those of the published code.

Result: `:tiny`, 80 steps on GRID s1, noise (docs/results.md); the published size is not measured.
"""

import ml_collections

from lipsync_jax.configs import common


def get_config(variant: str = "still") -> ml_collections.ConfigDict:
    """The experiment; `variant` is what follows the colon on the command line."""
    kind = "still" if variant == "tiny" else variant.removeprefix("tiny_")
    if kind not in ("still", "released"):
        raise ValueError(
            f"configs/vgan.py has no variant {variant!r}; choose still or released, or put tiny_ "
            "before it"
        )
    config = common.experiment("vgan", learning=("generator", "discriminator"))
    config.data = common.data("lips64", batch_size=24)  # clips of 16 frames

    config.sound_mean = 60.0  # dB; 0 and 1 in the published code
    config.sound_scale = 30.0

    config.model = ml_collections.ConfigDict()
    config.model.width = 1.0
    config.model.image_cond = kind == "still"
    config.optimiser = common.optimiser(2e-4, b1=0.5)

    config.mask_weight = 0.0  # 0.1 in Vondrick et al., for videos of noise alone
    config.first_frame_weight = 0.0  # 10 there, for videos that continue a frame

    config.adversarial = ml_collections.ConfigDict()
    config.adversarial.weight = 1.0
    config.adversarial.drawn_share = 0.5  # of the discriminator's own loss, beside real clips' 1
    config.adversarial.mismatched_share = 0.5
    config.adversarial.model = ml_collections.ConfigDict({"width": 1.0})
    config.adversarial.optimiser = common.optimiser(2e-4, b1=0.5)

    config.train = common.train(400_000, every=4000, patience=10)
    if variant.startswith("tiny"):
        _make_tiny(config)
    return config


def _make_tiny(config: ml_collections.ConfigDict) -> None:
    """Narrow networks, and a quicker generator."""
    config.model.width = config.adversarial.model.width = 1 / 8
    config.data.batch_size = 4
    config.data.threads = 2
    config.data.validation_clips = 16
    config.optimiser.learning_rate = 1e-3
    config.train.steps = 300
    config.train.log_every = 20
    config.train.validate_every = 100
    config.train.checkpoint_every = 100
    config.train.patience = 0
