"""How a face is cut out of its frames: one plan for each track, by the geometry wanted."""

import dataclasses
from collections.abc import Callable

import numpy as np

from lipsync_jax import faces
from lipsync_jax.data.clip import Geometry
from lipsync_jax.faces import alignment


@dataclasses.dataclass(frozen=True, eq=False)
class Framing:
    """Where the crops of a track lie.

    Attributes:
        crop: (picture uint8 BGR, number of a frame within the track) -> its crop.
        landmarks: float32 (frames, 5, 2), the track's landmarks in crop pixels.
    """

    crop: Callable[[np.ndarray, int], np.ndarray]
    landmarks: np.ndarray


def plan(track: faces.Track, geometry: Geometry, smoothing: int) -> Framing:
    """How a track is cut.

    Args:
        track: the face; with finite landmarks where crops are aligned.
        geometry: of the crops.
        smoothing: frames over which boxes are averaged; alignment has its own rule.
    """
    size = geometry.height, geometry.width
    if geometry.cut == "aligned":
        matrices = alignment.places(track.landmarks, alignment.CANONICAL[geometry.part])
        return Framing(
            lambda bgr, number: alignment.cut_out(bgr, matrices[number], size),
            alignment.to_frame(track.landmarks, matrices),
        )
    boxes = crop_boxes(track, smoothing)
    return Framing(
        lambda bgr, number: faces.crop(bgr, boxes[number], size),
        faces.to_crop(track.landmarks, boxes, size),
    )


def crop_boxes(track: faces.Track, smoothing: int) -> np.ndarray:
    """The boxes to crop along a track: smoothed, then lengthened by `faces.face_box`."""
    smooth = [faces.smooth_boxes(values, smoothing) for values in (track.boxes, track.landmarks)]
    return faces.face_box(*smooth)
