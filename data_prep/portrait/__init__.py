"""Portraits drawn from numbers: people who blink, move and speak, at any size."""

from data_prep.portrait.identity import Identity
from data_prep.portrait.portrait import FaceState, Portrait

__all__ = ["FaceState", "Identity", "Portrait"]
