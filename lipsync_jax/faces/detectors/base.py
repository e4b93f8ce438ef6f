"""The interface of face detectors, and their common functions."""

import dataclasses
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from lipsync_jax.media.planar import Image, PlanarImage


@dataclasses.dataclass(frozen=True)
class Face:
    """One detected face.

    Attributes:
        box: float32 (4,).
        score: confidence, 0 to 1.
        landmarks: float32 (5, 2): eyes, nose tip, mouth corners, image-left first; NaN if unknown.
    """

    box: np.ndarray
    score: float
    landmarks: np.ndarray


Detector = Callable[[np.ndarray], list[Face]]


def to_face(
    rectangle: Sequence[float] | np.ndarray,
    score: float,
    points: Sequence[float] | np.ndarray,
    scale: np.ndarray,
) -> Face:
    """Converts a detection in the scaled image to a face of the original image.

    Args:
        rectangle: x, y, width and height in the scaled image.
        score: confidence, 0 to 1.
        points: ten landmark coordinates in the scaled image, x first.
        scale: of x and y, see `resize_long_side`.
    """
    x, y, w, h = rectangle
    return Face(
        (np.array([[x, y], [x + w, y + h]]) / scale).astype(np.float32).reshape(4),
        float(score),
        (np.reshape(points, (5, 2)) / scale).astype(np.float32),
    )


def resize_long_side(image: Image, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Resizes an image to a long side of `size` pixels; returns the exact scales of x and y too."""
    height, width = image.shape[:2]
    scale = size / max(height, width)
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    if isinstance(image, PlanarImage):
        small = image.resized(shape)
    else:
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(image, shape, interpolation=interpolation)
    return small, np.array([shape[0] / width, shape[1] / height])
