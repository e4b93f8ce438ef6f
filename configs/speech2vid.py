"""Speech2Vid, "You said that?" (Chung et al. 2017): images and audio -> a face, frame by frame.

    python main.py --config=configs/speech2vid.py --workdir=runs/speech2vid --config.data.dir=DATA

Variants are `[tiny_]stills`; `tiny` is for minutes on a CPU, `:tiny` is `:tiny_one`:

    one    the default: one reference image, and the deblurring network beside the generator
    five   five reference images of other moments, as the second released network
    plain  one reference image, no deblurring network

The paper trains by SGD at 1e-5 from weights of a face and of a sync network. These weights are not
available, so both networks start from random weights here, with Adam.

Result: `:tiny_plain` on GRID s1, mouth error 0.0314, 17 minutes on half a CPU core
(docs/results.md); the published size is not measured.
"""

import ml_collections

from lipsync_jax.configs import common

SYSTEMS = ("one", "five", "plain")


def get_config(variant: str = "one") -> ml_collections.ConfigDict:
    """The experiment; `variant` is what follows the colon on the command line."""
    system = {"published": "one", "tiny": "one"}.get(variant, variant.removeprefix("tiny_"))
    if system not in SYSTEMS:
        raise ValueError(
            f"configs/speech2vid.py has no variant {variant!r}; choose one of "
            f"{', '.join(SYSTEMS)}, or put tiny_ before it"
        )
    config = _one()
    if system == "five":
        config.stills = 5
    if system == "plain":
        config.deblur.train = False
    if variant.startswith("tiny"):
        _make_tiny(config)
    return config


def _one() -> ml_collections.ConfigDict:
    config = common.experiment("speech2vid", learning=("generator", "deblurrer"))
    config.frame_rate = 25  # at which a still is animated

    config.data = common.data(
        "aligned112x112", batch_size=50, validation_clips=512, validation_batch_size=16
    )

    config.stills = 1
    config.frames_per_clip = 1  # single frames of a clip in each batch
    config.mouth_weight = 0.0  # of the error around the mouth, added once more; published: 0
    config.model = ml_collections.ConfigDict({"width": 1.0})
    config.optimiser = common.optimiser(1e-4)

    config.deblur = ml_collections.ConfigDict()
    config.deblur.train = True
    config.deblur.width = 1.0
    config.deblur.optimiser = common.optimiser(1e-4)

    config.train = common.train(300_000, every=3000, patience=10)
    return config


def _make_tiny(config: ml_collections.ConfigDict) -> None:
    """Narrow networks, few pictures a step, the mouth above all, higher rates."""
    config.model.width = config.deblur.width = 0.125
    config.data.batch_size = 10
    config.data.threads = 2
    config.data.validation_clips = 0
    config.frames_per_clip = 2
    config.mouth_weight = 2.0
    config.optimiser.learning_rate = 3e-3
    config.optimiser.warmup = 50
    config.optimiser.decay_steps = 700
    config.deblur.optimiser.learning_rate = 1e-3
    config.train.steps = 700
    config.train.log_every = 20
    config.train.validate_every = 175
    config.train.checkpoint_every = 175
    config.train.patience = 0
