"""Follows faces by optical flow through the frames between two detections.

The flow tells how a head moved from frame to frame; the detections at both ends tell where it was,
so that errors of the flow do not add up.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from lipsync_jax.faces.crops import crop
from lipsync_jax.media.planar import Image, PlanarImage

_MARGIN = 0.5  # of the face's longer side, on all sides of the crops in which motion is measured
_SIZE = 96  # rows and columns of these crops
_GRID = np.linspace(0.2, 0.8, 5)  # of the box: the points that are followed
_MIN_POINTS = 6  # fewer followed points are no evidence of motion
_WINDOW, _LEVELS = (15, 15), 2  # of Lucas and Kanade's method, and of its pyramid


def deviations(images: Sequence[Image], box: np.ndarray) -> np.ndarray:
    """Measures how a face's motion deviates from a constant velocity.

    Args:
        images: the frame of one detection, the frames after it, and the frame of the next
            detection.
        box: (4,), the face in the first frame.

    Returns:
        float64 (len(images), 2): x and y in pixels, to add to positions that are interpolated
        between both detections; 0 at both ends.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    half = (0.5 + _MARGIN) * max(x1 - x0, y1 - y0, 1.0)
    left, top = (x0 + x1) / 2 - half, (y0 + y1) / 2 - half
    region, scale = np.array([left, top, left + 2 * half, top + 2 * half]), _SIZE / (2 * half)
    greys = [_grey_crop(image, region) for image in images]
    x, y = np.meshgrid(x0 - left + _GRID * (x1 - x0), y0 - top + _GRID * (y1 - y0))
    points = (scale * np.stack([x, y], axis=-1)).reshape(-1, 1, 2).astype(np.float32)
    moved = np.zeros((len(images), 2))
    for i in range(1, len(images)):
        new, found, _ = cv2.calcOpticalFlowPyrLK(  # type: ignore[call-overload]  # of None
            greys[i - 1], greys[i], points, None, winSize=_WINDOW, maxLevel=_LEVELS
        )
        found = found.ravel() == 1
        if found.sum() < _MIN_POINTS:
            return np.zeros((len(images), 2))
        step = np.median((new - points)[found, 0], axis=0)
        # All points move alike, so that none of them leaves the face.
        points, moved[i] = points + step.astype(np.float32), moved[i - 1] + step
    return (moved - np.linspace(0, 1, len(images))[:, None] * moved[-1]) / scale


def _grey_crop(image: Image, region: np.ndarray) -> np.ndarray:
    if isinstance(image, PlanarImage):
        return crop(image.planes[0], region, _SIZE)
    return cv2.cvtColor(crop(image, region, _SIZE), cv2.COLOR_RGB2GRAY)
