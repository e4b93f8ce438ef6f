"""Landmarks of crops that show lips alone, for the landmark distance.

No detector finds a face in such a crop. Real and generated lips are pasted onto one face image, as
in the published code of Chen et al. 2018 ("Lip Movements Generation at a Glance"), and landmarks
are predicted on the result.
"""

import numpy as np

from lipsync_jax import faces
from lipsync_jax.data.clip import CROP_SPECS
from lipsync_jax.evaluation.landmarks import Landmarks
from lipsync_jax.evaluation.metrics import lmd
from lipsync_jax.faces import alignment

CROP = "lips64"
LIP_SIZE = CROP_SPECS[CROP].height  # rows and columns of a crop
_MARGIN = 128  # pixels of face around the lips


class LipLandmarks:
    """Predicts the 20 mouth landmarks of lip crops.

    Args:
        landmark_model: predicts the landmarks of whole faces.
        image: uint8 (height, width, 3) BGR, with a frontal face of any person; distances are
            comparable over one face image only.
        detector: see `faces.detect`.

    Raises:
        ValueError: no face is found in the image, or only one that can't be aligned.
    """

    def __init__(
        self,
        landmark_model: Landmarks,
        image: np.ndarray,
        detector: str | faces.Detector = "auto",
    ) -> None:
        found = faces.detect(np.ascontiguousarray(image[..., ::-1]), detector)
        if not found:
            raise ValueError("the image to paste lips onto shows no face; give another one")
        crop_spec = CROP_SPECS[CROP]
        self._shape = crop_spec.height, crop_spec.width
        matrix = alignment.align_matrix(
            found[0].landmarks, alignment.CANONICAL[crop_spec.region] + _MARGIN
        )
        size = self._shape[0] + 2 * _MARGIN, self._shape[1] + 2 * _MARGIN
        self._face = alignment.warp_crop(image, matrix, size)
        corners = found[0].box.reshape(2, 2)
        self._box = alignment.transform_points(corners, matrix).reshape(4)
        self._landmark_model = landmark_model

    def paste(self, lips: np.ndarray) -> np.ndarray:
        """Returns the face image with these lips pasted, uint8 (rows, columns, 3) BGR.

        Args:
            lips: uint8 (64, 64, 3) BGR.
        """
        face, (height, width) = self._face.copy(), self._shape
        face[_MARGIN : _MARGIN + height, _MARGIN : _MARGIN + width] = lips
        return face

    def __call__(self, lips: np.ndarray) -> np.ndarray:
        """Predicts landmarks.

        Args:
            lips: uint8 (n, 64, 64, 3), BGR, of the crop `lips64`.

        Returns:
            float32 (n, 20, 2), crop pixels: the mouth of the 68-point scheme (iBUG).
        """
        points = [
            self._landmark_model.points(
                np.ascontiguousarray(self.paste(crop)[..., ::-1]), self._box
            )
            for crop in lips
        ]
        return np.stack(points)[:, lmd.MOUTH] - np.float32(_MARGIN)
