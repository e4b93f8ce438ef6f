"""Procedural portraits that blink, move and speak, at any resolution."""

from lipsync_jax.data_prep.synthetic.face.identity import Identity
from lipsync_jax.data_prep.synthetic.face.portrait import FaceState, Portrait

__all__ = ["FaceState", "Identity", "Portrait"]
