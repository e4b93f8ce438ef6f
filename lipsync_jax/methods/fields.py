"""Fields of the blocks that every config has, each with its neutral default.

A config lists all fields that the code reads (configs/common.py makes the blocks), so that a user
sees and sets every one of them. `with_defaults` adds the fields that the config of an older
checkpoint lacks.
"""

from collections.abc import Mapping

from lipsync_jax.types import Json

EXPERIMENT = {
    "precision": "float32",
    "batch_statistics": "global",  # of BatchNorm in training; "device": of each device's examples
    "gradient_sums": "precision",  # of kernels, over examples and devices; or "float32"
    "remat": "none",  # "blocks": activations within blocks of layers are computed again backward
    "frozen": {},  # network -> checkpoint, method and name of a network that is not trained
    "init_from": {},  # network -> checkpoint of its initial weights; "": random weights
}
# Fields that the configs of a method gained after its first checkpoints were written.
ADDED: Mapping[str, Mapping[str, Json]] = {
    "flownet": {"scale_reduction": "mean"},
    "glance": {"segment_hop": 1, "flow_trainable": False},
    "glance_autoencoder": {"segment_hop": 1},
    "vgan": {"segment_hop": 1},
    "stable_syncnet": {"min_negative_distance": 0, "edge_windows": "pad"},
    "sync_expert": {"degrade_magnitude": 0.0, "min_negative_distance": 0, "edge_windows": "pad"},
    "wav2lip": {
        "edge_windows": "pad",
        "network": "published",
        "motion_features": 0,
        "audio_from_expert": False,
        "frames_per_window": 0,
        "degrade_magnitude": 0.0,
        "sync_objective": "cosine_bce",
        "sharpness_floor": 0.0,
    },
}
# The same, of the blocks of a method's discriminators.
ADDED_TO_DISCRIMINATORS: Mapping[str, Mapping[str, Json]] = {"wav2lip": {"network": "published"}}
OPTIMIZER = {
    "b1": 0.9,
    "b2": 0.999,
    "eps": 1e-8,  # of Adam, added to the root of the bias-corrected second moment
    "weight_decay": 0.0,  # decoupled (AdamW), on kernels only
    "weight_decay_l2": 0.0,  # times all weights, added to the gradient before Adam scales it
    "accumulate_steps": 1,  # steps whose mean gradient makes one update of the weights
    "clip_norm": 0.0,  # of all gradients together; 0: off
    "warmup_steps": 0,
    "lr_decay_steps": 0,  # the step at which a cosine schedule reaches 0; 0: constant rate
    "lr_decay": 1.0,  # factor of the rate every `lr_decay_every` steps from `lr_decay_from` on
    "lr_decay_from": 0,
    "lr_decay_every": 0,  # 0: never
}
TRAIN = {
    "checkpoint_minutes": 10.0,  # minutes between two checkpoints; 0: by steps alone
    "early_stopping_patience": 0,  # validations without a gain, after which a run ends; 0: never
    "keep_checkpoints": 2,  # the newest ones
    "keep_period": 0,  # steps; checkpoints at its multiples stay beside the newest; 0: none
}
# A method's block `loss` has the terms that the method computes.
LOSS = {
    "l1": 0.0,
    "lower_half": 1.0,  # of the L1 loss's pixels below the middle row; 1: as above that row
    "upper_half": 0.0,  # of the L1 loss's pixels above the middle row
    "mouth": 0.0,  # of the L1 loss's pixels in the mouth region, added to their other weight
    "edge": 0.0,  # of the L1 loss of image gradients
    "motion": 0.0,  # of the error of motion codes that are predicted from audio, `warp` only
    "painted": 0.0,  # of the pixel losses of what the network `warp` paints, before blending
    "perceptual": 0.0,
    "mask": 0.0,  # L1 of the foreground mask
    "first_frame": 0.0,  # L1 between the generated and the real first frame
    "sync": 0.0,  # of the frozen sync expert's loss
    "sync_initial": 0.0,  # `sync` until the validation sync loss is below `sync_start_below`
    "sync_start_below": 0.0,
}
# Beside weight, model and optimizer; a method's block has those that the method reads.
DISCRIMINATOR = {
    "frames_per_clip": 1,  # frames, or windows, that are sampled from each clip
    "fake_weight": 0.5,  # of generated clips in the discriminator's loss; real clips have 1
    "mismatched_weight": 0.5,  # of real clips with other audio in the discriminator's loss
    "network": "published",  # or patch, with Wav2Lip: see methods/wav2lip/warp_model.py
}


def with_defaults(config: Mapping[str, Json]) -> dict[str, Json]:
    """Returns a copy of a config, as JSON values, with the fields that the config lacks."""
    method = str(config["method"]) if "method" in config else ""
    completed = {**EXPERIMENT, **ADDED.get(method, {}), **_with_optimizer_defaults(config)}
    if isinstance(blocks := completed.get("discriminators"), Mapping):
        added = ADDED_TO_DISCRIMINATORS.get(method, {})
        completed["discriminators"] = {
            name: {**added, **block} if isinstance(block, Mapping) else block
            for name, block in blocks.items()
        }
    if isinstance(completed.get("train"), Mapping):
        completed["train"] = {**TRAIN, **completed["train"]}
    return completed


def missing_fields(config: Mapping[str, Json]) -> list[str]:
    """Returns the fields that `with_defaults` adds, e.g. `config.train.keep_checkpoints`."""
    return sorted(set(flatten(with_defaults(config))) - set(flatten(config)))


def flatten(tree: Mapping[str, Json], prefix: str = "config.") -> dict[str, Json]:
    """Returns values by their full names; an empty block is a value."""
    flattened: dict[str, Json] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            flattened.update(flatten(value, f"{prefix}{name}."))
        else:
            flattened[prefix + name] = {} if isinstance(value, Mapping) else value
    return flattened


def _with_optimizer_defaults(block: Mapping[str, Json]) -> dict[str, Json]:
    """Completes every block with a learning rate: such a block describes an optimizer."""
    defaults = dict(OPTIMIZER) if "learning_rate" in block else {}
    inner = {
        name: _with_optimizer_defaults(value) if isinstance(value, Mapping) else value
        for name, value in block.items()
    }
    return {**defaults, **inner}
