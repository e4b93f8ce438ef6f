"""Computes where the face crops of a track lie, for boxes and for aligned crops."""

import dataclasses
from collections.abc import Callable

import numpy as np

from lipsync_jax import faces
from lipsync_jax.data.clip import CropSpec
from lipsync_jax.faces import alignment


@dataclasses.dataclass(frozen=True, eq=False)
class CropPlan:
    """The crops of a track.

    Attributes:
        crop: (frame uint8 BGR, index of the frame within the track) -> its crop.
        landmarks: float32 (frames, 5, 2), the track's landmarks in crop pixels.
        boxes: float32 (frames, 4), see `crop_boxes`; aligned crops are only near them.
    """

    crop: Callable[[np.ndarray, int], np.ndarray]
    landmarks: np.ndarray
    boxes: np.ndarray


def plan_crops(track: faces.Track, crop_spec: CropSpec, smoothing: int) -> CropPlan:
    """Plans the crops of a track.

    Args:
        track: the face; landmarks must be finite for aligned crops.
        crop_spec: size and method of the crops.
        smoothing: frames over which boxes are averaged; aligned crops ignore this.
    """
    size, boxes = (crop_spec.height, crop_spec.width), crop_boxes(track, smoothing)
    if crop_spec.method == "aligned":
        matrices = alignment.align_matrices(track.landmarks, alignment.CANONICAL[crop_spec.region])
        return CropPlan(
            lambda bgr, number: alignment.warp_crop(bgr, matrices[number], size),
            alignment.transform_points(track.landmarks, matrices),
            boxes,
        )
    return CropPlan(
        lambda bgr, number: faces.crop(bgr, boxes[number], size),
        faces.to_crop(track.landmarks, boxes, size),
        boxes,
    )


def crop_boxes(track: faces.Track, smoothing: int) -> np.ndarray:
    """Returns the boxes to crop along a track: smoothed, then lengthened by `faces.face_box`."""
    smoothed = [faces.smooth_boxes(values, smoothing) for values in (track.boxes, track.landmarks)]
    return faces.face_box(*smoothed)
