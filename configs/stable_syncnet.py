"""StableSyncNet, the sync expert of LatentSync (Li et al. 2024): windows of 16 frames.

    python main.py --config=configs/stable_syncnet.py --workdir=runs/stable_syncnet \\
        --config.data.dir=DATA

The run serves as Wav2Lip's expert (`--config.frozen.expert.checkpoint=runs/stable_syncnet`) with
the crop that it was trained on, and as `--sync-model` of `lipsync sync` and `lipsync evaluate`.
Crops are face boxes, whose sides must be a power of two: face64, face128 or face256. LatentSync
warps its faces to a template; these crops are not warped. Arguments, e.g.
`:size=published,sampling=spaced`:

    size=published  the default: the published network, batch, learning rate and loss
    size=tiny       a sixteenth of the width on face64 crops, InfoNCE, for minutes on a CPU

    sampling=by_size    the default: reference for the published size, spaced for tiny
    sampling=reference  as the published code: a negative is any other window of the clip, even one
                        frame away; windows whose audio is not all inside of the clip are rejected
    sampling=spaced     negatives are at least 16 frames away; missing audio is silence

Paper: section 3.3. Deviations: docs/explanation/deviations.md.
Expected: not measured.
"""

import ml_collections

from lipsync_jax.configs import common

VARIANTS = common.Variants(
    "stable_syncnet", {"size": ("published", "tiny"), "sampling": common.SAMPLING}
)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the experiment; `variant` is the text after the colon on the command line."""
    chosen = VARIANTS.parse(variant)
    config = common.sync_expert("stable_syncnet", "face256", batch_size=256, learning_rate=1e-5)
    config.model = ml_collections.ConfigDict()
    config.model.width_mult = 1.0
    config.model.dropout = 0.0
    common.set_window_sampling(config, chosen.sampling, chosen.size)
    if chosen.size == "tiny":
        _make_tiny(config)
    return config


def _make_tiny(config: ml_collections.ConfigDict) -> None:
    """Sets a narrow network, small crops, the InfoNCE objective, and a short run."""
    config.objective = "info_nce"
    config.data.crop = "face64"
    config.data.batch_size = 4
    config.data.validation_clips = 0
    config.windows_per_clip = 4
    config.silence_sampling_weight = 0.3
    config.augment_magnitude = 0.25
    config.model.width_mult = 0.0625
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 30
    common.set_short_run(config, steps=330, every=165)
