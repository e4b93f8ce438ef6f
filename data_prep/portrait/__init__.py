"""Portraits drawn from numbers: people who blink, move and speak, at any size."""

from lipsync_jax.data_prep.portrait.identity import Identity
from lipsync_jax.data_prep.portrait.portrait import FaceState, Portrait

__all__ = ["FaceState", "Identity", "Portrait"]
