"""Landmarks of crops that show lips alone, for the landmark distance.

No detector finds a face in such a crop. Real and drawn lips are laid over one and the same face, as
Chen et al. 2018 did ("Lip Movements Generation at a Glance", published code), and landmarks are
looked for there.
"""

import numpy as np

from lipsync_jax import faces
from lipsync_jax.data.clip import GEOMETRIES
from lipsync_jax.evaluation.landmarks import Landmarks
from lipsync_jax.evaluation.metrics import lmd
from lipsync_jax.faces import alignment

GEOMETRY = "lips64"
_MARGIN = 128  # pixels of face around the lips


class LipPoints:
    """Finds the 20 points of lips.

    Args:
        landmarks: of whole faces.
        picture: uint8 (height, width, 3) BGR, with a face from the front; others than the speaker's
            will do, but distances are comparable over one face only.
        detector: see `faces.detect`.

    Raises:
        ValueError: no face is found in the picture, or only one that can't be aligned.
    """

    def __init__(
        self,
        landmarks: Landmarks,
        picture: np.ndarray,
        detector: str | faces.Detector = "auto",
    ) -> None:
        found = faces.detect(np.ascontiguousarray(picture[..., ::-1]), detector)
        if not found:
            raise ValueError("the picture to lay lips over shows no face; give another one")
        geometry = GEOMETRIES[GEOMETRY]
        self._shape = geometry.height, geometry.width
        matrix = alignment.place(found[0].landmarks, alignment.CANONICAL[geometry.part] + _MARGIN)
        size = self._shape[0] + 2 * _MARGIN, self._shape[1] + 2 * _MARGIN
        self._face = alignment.cut_out(picture, matrix, size)
        corners = found[0].box.reshape(2, 2)
        self._box = alignment.to_frame(corners, matrix).reshape(4)
        self._landmarks = landmarks

    def lay(self, lips: np.ndarray) -> np.ndarray:
        """The face with these lips, uint8 (64, 64, 3) BGR."""
        face, (height, width) = self._face.copy(), self._shape
        face[_MARGIN : _MARGIN + height, _MARGIN : _MARGIN + width] = lips
        return face

    def __call__(self, lips: np.ndarray) -> np.ndarray:
        """Crops -> points.

        Args:
            lips: uint8 (n, 64, 64, 3), BGR, of the geometry `lips64`.

        Returns:
            float32 (n, 20, 2), crop pixels: the mouth of the 68-point scheme.
        """
        points = [
            self._landmarks.points(np.ascontiguousarray(self.lay(crop)[..., ::-1]), self._box)
            for crop in lips
        ]
        return np.stack(points)[:, lmd.MOUTH] - np.float32(_MARGIN)
