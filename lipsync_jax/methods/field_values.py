"""Limits of the values of fields that every config has."""

import math
from collections.abc import Callable, Mapping

import jax.numpy as jnp

from lipsync_jax.data.clip import CROP_SPECS
from lipsync_jax.methods import fields
from lipsync_jax.types import Json

_POSITIVE: tuple[Callable[[Json], bool], str] = (lambda value: value > 0, "more than 0")
_AT_LEAST_0: tuple[Callable[[Json], bool], str] = (lambda value: value >= 0, "0 or more")
_BELOW_1: tuple[Callable[[Json], bool], str] = (lambda value: 0 <= value < 1, "from 0 to below 1")
# Name of a field in any block -> what its value must be.
_LIMITS: Mapping[str, tuple[Callable[[Json], bool], str]] = {
    **dict.fromkeys(
        (
            *("batch_size", "validation_batch_size", "accumulate_steps", "frames_per_clip"),
            *("log_every", "validate_every", "checkpoint_every", "keep_checkpoints"),
            *("width_mult", "audio_width_mult"),
        ),
        _POSITIVE,
    ),
    **dict.fromkeys(
        (
            *("seed", "steps", "depth_mult", "learning_rate", "eps"),
            *("weight_decay", "weight_decay_l2"),
            *("clip_norm", "warmup_steps", "lr_decay_steps", "lr_decay_from", "lr_decay_every"),
            *("checkpoint_minutes", "early_stopping_patience", "keep_period", "validation_clips"),
        ),
        _AT_LEAST_0,
    ),
    "b1": _BELOW_1,
    "b2": _BELOW_1,
}


def require_valid(config: Mapping[str, Json]) -> None:
    """Refuses values that no run can work with.

    Args:
        config: as JSON values.

    Raises:
        ValueError: a number is not finite or outside of its limits, or a name is unknown; names the
            field.
    """
    for name, value in fields.flatten(config).items():
        field = name.rpartition(".")[2]
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"--{name}={value}: expected a finite number")
        fits, expected = _LIMITS.get(field, (None, ""))
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if fits is not None and is_number and not fits(value):
            raise ValueError(f"--{name}={value}: expected a number that is {expected}")
        if name == "config.data.crop" and value not in CROP_SPECS:
            raise ValueError(f"--{name}={value}: expected one of {', '.join(CROP_SPECS)}")
        if name == "config.precision" and not _is_float_type(value):
            raise ValueError(f"--{name}={value}: expected a type such as float32 or bfloat16")


def _is_float_type(name: Json) -> bool:
    try:
        return bool(jnp.issubdtype(jnp.dtype(name), jnp.floating))
    except TypeError:
        return False
