"""Portraits drawn from numbers: people who blink, move and speak, at any size."""

from lipsync_jax.data_prep.synthetic.face.identity import Identity
from lipsync_jax.data_prep.synthetic.face.portrait import FaceState, Portrait

__all__ = ["FaceState", "Identity", "Portrait"]
