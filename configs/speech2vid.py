"""Speech2Vid, "You said that?" (Chung et al. 2017): images and audio -> a face, frame by frame.

    python main.py --config=configs/speech2vid.py --workdir=runs/speech2vid --config.data.dir=DATA

Arguments, e.g. `:size=tiny,system=k5`:

    size=published    the default
    size=tiny         an eighth of the width, for minutes on a CPU

    system=k1         the default: one reference image, and the deblurring network
    system=k5         five reference images of other moments, as the second released network
    system=no_deblur  one reference image, no deblurring network

The paper trains by SGD at 1e-5 from weights of a face network and of a sync network. These weights
are not available, so both networks start from random weights here, with Adam.

Paper: section 3 (networks), section 3.4 (deblurring).
Expected: `:tiny_no_deblur` on GRID s1, test mouth_l1 0.0314 (lower is better; mean-image baseline
0.0258), 0.3 hours on half a CPU core (docs/results.md). `:published`: not measured.
"""

import ml_collections

from lipsync_jax.configs import common

VARIANTS = common.Variants(
    "speech2vid",
    {"size": ("published", "tiny"), "system": ("k1", "k5", "no_deblur")},
    aliases={"one": "system=k1", "five": "system=k5", "plain": "system=no_deblur"},
)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; `variant` is the text after the colon on the command line."""
    chosen = VARIANTS.parse(variant)
    config = _k1()
    if chosen.system == "k5":
        config.num_reference_images = 5
    if chosen.system == "no_deblur":
        config.deblur.train = False
    if chosen.size == "tiny":
        _make_tiny(config)
    return config


def _k1() -> ml_collections.ConfigDict:
    config = common.experiment("speech2vid", trained_networks=("generator", "deblurrer"))
    config.frame_rate = 25  # frames per second of a generated video

    config.data = common.data(
        "aligned112x112", batch_size=50, validation_clips=512, validation_batch_size=16
    )
    config.num_reference_images = 1
    config.frames_per_clip = 1  # single frames of each clip of a batch

    config.model = ml_collections.ConfigDict({"width_mult": 1.0})
    config.loss = common.loss(mouth=0.0)
    # Deviations S1 (Adam for SGD), S2 (random weights) and S8 (one rate for all parts).
    config.optimizer = common.optimizer(1e-4)

    config.deblur = ml_collections.ConfigDict()
    config.deblur.train = True  # in the same run: deviation S9
    config.deblur.width_mult = 1.0
    config.deblur.optimizer = common.optimizer(1e-4)

    config.train = common.train(300_000, every=3000, early_stopping_patience=10)
    return config


def _make_tiny(config: ml_collections.ConfigDict) -> None:
    """Sets narrow networks, small batches, a weight of the mouth and higher learning rates."""
    config.model.width_mult = config.deblur.width_mult = 0.125
    config.data.batch_size = 10
    config.data.validation_clips = 0
    config.frames_per_clip = 2
    config.loss.mouth = 2.0
    config.optimizer.learning_rate = 3e-3
    config.optimizer.warmup_steps = 50
    config.deblur.optimizer.learning_rate = 1e-3
    common.set_short_run(config, steps=700, every=175)
