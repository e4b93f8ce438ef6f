"""Landmark distance."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Num

MOUTH = slice(48, 68)  # of the 68-point scheme (iBUG; dlib's predictor): 12 outer, 8 inner points


class LandmarkDistance(NamedTuple):
    """Landmark distances of a clip.

    Attributes:
        value: mean over the frames in which both faces have landmarks, pixels; NaN without any.
        frames: float64 (frames,), distance of each frame; NaN where landmarks are missing.
        detected: fraction of the frames in which both have landmarks.
    """

    value: float
    frames: np.ndarray
    detected: float


VARIANTS: Mapping[str, str] = {
    "mean": "per-point mean, shapes centred in each frame (Chen et al. 2018, eq. 5)",
    "sum": "sum over points, shapes centred in each frame (what the published script computes)",
    "clip_mean": "per-point mean, shapes centred once for the whole clip",
}


def lmd(
    real: Num[np.ndarray, "frames points 2"],
    fake: Num[np.ndarray, "frames points 2"],
    variant: str = "mean",
) -> LandmarkDistance:
    """Computes the landmark distance of mouths (Chen et al. 2018, "At a Glance").

    LMD = 1/T · 1/P · Σt Σp ‖R(t,p) − F(t,p)‖₂ (eq. 5), after both shapes are centred at
    their mean points. Neither scale nor rotation is removed, so name the crop and its size with the
    result: LMD grows with the size. Independent noise of σ a coordinate on one of the two gives
    σ·√(π/2)·√(1 − 1/P). Over several clips the mean is over all frames, not over clips.

    Args:
        real: (frames, points, 2), pixels; NaN where no face was found.
        fake: of equal shape, from the same detector on the same kind of crop.
        variant: one of VARIANTS.

    Raises:
        ValueError: the shapes differ or are no landmarks, or there is no such variant.
    """
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    if real.shape != fake.shape or real.ndim != 3 or real.shape[2] != 2:
        raise ValueError(
            f"landmarks of shapes {real.shape} and {fake.shape} can't be compared; both must be "
            "(frames, points, 2)"
        )
    if variant not in VARIANTS:
        raise ValueError(f"LMD has no variant {variant!r}; choose from {', '.join(VARIANTS)}")
    known = np.isfinite(real).all(axis=(1, 2)) & np.isfinite(fake).all(axis=(1, 2))
    axes = (0, 1) if variant == "clip_mean" else (1,)
    frames = np.full(len(real), np.nan)
    if known.any():
        a, b = (x[known] - x[known].mean(axis=axes, keepdims=True) for x in (real, fake))
        distance = np.linalg.norm(a - b, axis=2)  # mean over points by default: deviation M1
        frames[known] = distance.sum(axis=1) if variant == "sum" else distance.mean(axis=1)
    value = float(frames[known].mean()) if known.any() else float("nan")
    return LandmarkDistance(value, frames, float(known.mean()) if len(known) else 0.0)
