"""Baselines without a network, which a method has to beat."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lipsync_jax import faces
from lipsync_jax.evaluation.face_clip import FaceClip

COPY_REFERENCE, MEAN_MOUTH, ORIGINAL_VIDEO = "copy-reference", "mean-mouth", "original video"
STATIC_IMAGE, MEAN_IMAGE = "static image", "mean image"
_SIDE = 96  # columns of the lower half of a face, which is half as high


def mouth_baselines(reference: FaceClip) -> Mapping[str, FaceClip]:
    """Returns the real clip with the lower half of each face crop replaced by a constant image.

    `copy-reference` uses the first frame's lower half, `mean-mouth` the mean over all frames of the
    clip, which a generator has no access to. Both move with the head and ignore the audio.

    Args:
        reference: the real clip.
    """
    lower = _lower_halves(reference.boxes)
    total, first = np.zeros((_SIDE // 2, _SIDE, 3)), None
    for image, box in zip(reference.read_frames(), lower, strict=True):
        half = faces.crop(image, box, (_SIDE // 2, _SIDE))
        first = half if first is None else first
        total += half
    mean = np.rint(total / len(reference)).astype(np.uint8)

    def pasted(patch: np.ndarray) -> FaceClip:
        return reference.map_frames(lambda image, i: faces.paste(image, patch, lower[i]))

    assert first is not None  # clips have six frames at least
    return {COPY_REFERENCE: pasted(first), MEAN_MOUTH: pasted(mean)}


def static_baselines(reference: FaceClip) -> Mapping[str, FaceClip]:
    """Returns clips of a constant image.

    `static image` repeats the first frame, `mean image` the mean over all frames of the clip, which
    a generator has no access to.

    Args:
        reference: the real clip, of shards.
    """
    total: Any = 0.0  # an array from the first frame on
    first: Any = None  # likewise
    for image in reference.read_frames():
        first = image if first is None else first
        total = total + image.astype(np.float64)
    mean = np.rint(total / len(reference)).astype(np.uint8)
    return {
        STATIC_IMAGE: reference.map_frames(lambda image, i: first),
        MEAN_IMAGE: reference.map_frames(lambda image, i: mean),
    }


def _lower_halves(boxes: np.ndarray) -> np.ndarray:
    halves = np.array(boxes)
    halves[:, 1] = (boxes[:, 1] + boxes[:, 3]) / 2
    return halves
