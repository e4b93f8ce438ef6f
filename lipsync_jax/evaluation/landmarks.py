"""68 landmarks and an embedding of a face, from dlib (King 2009): an optional extra.

`pip install 'lipsync_jax[landmarks]'` installs dlib and its model files, without PyTorch.
The landmark model was trained on iBUG 300-W, whose licence excludes commercial use.
"""

import importlib.util
from pathlib import Path

import numpy as np

from lipsync_jax.types import Untyped

NAME = "dlib68"
EMBEDDER = "dlib_resnet_v1"
_PREDICTOR = "shape_predictor_68_face_landmarks.dat"
_RECOGNISER = "dlib_face_recognition_resnet_model_v1.dat"


def missing_packages() -> str:
    """Returns which packages of the extra are missing and what to do; empty if none is."""
    absent = [
        name for name in ("dlib", "face_recognition_models") if not importlib.util.find_spec(name)
    ]
    if not absent:
        return ""
    return f"{' and '.join(absent)} not installed; pip install 'lipsync_jax[landmarks]'"


class Landmarks:
    """dlib's regression-tree landmarks (Kazemi & Sullivan 2014) and its face embedding.

    Raises:
        ImportError: a package is missing, see `missing_packages`.
    """

    def __init__(self) -> None:
        if missing := missing_packages():
            raise ImportError(missing)
        import dlib

        spec = importlib.util.find_spec("face_recognition_models")
        assert spec is not None and spec.submodule_search_locations  # imported above
        folder = Path(spec.submodule_search_locations[0]) / "models"
        self._rectangle = dlib.rectangle
        self._predict = dlib.shape_predictor(str(folder / _PREDICTOR))
        self._recogniser: Untyped = None  # dlib has no annotations
        self._folder, self._module = folder, dlib

    def points(self, rgb: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Predicts the 68 landmarks of the iBUG scheme.

        Args:
            rgb: uint8 (height, width, 3), RGB.
            box: (4,), tight around the face, see `lipsync_jax.faces`.

        Returns:
            float32 (68, 2), whole pixels of the image.
        """
        parts = self._shape(rgb, box).parts()
        return np.array([(point.x, point.y) for point in parts], np.float32)

    def embedding(self, rgb: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Computes a face embedding, float32 (128,); arguments as of `points`.

        Two images of one person have a Euclidean distance below 0.6.
        """
        if self._recogniser is None:
            path = str(self._folder / _RECOGNISER)
            self._recogniser = self._module.face_recognition_model_v1(path)
        shape = self._shape(rgb, box)
        return np.array(self._recogniser.compute_face_descriptor(rgb, shape), np.float32)

    def _shape(self, rgb: np.ndarray, box: np.ndarray) -> Untyped:
        # dlib's own detector gives squares that end at the chin. On three test videos the points
        # from this square are within 1.1 pixels of the points from dlib's.
        x0, y0, x1, y1 = (float(v) for v in box)
        centre, half = (x0 + x1) / 2, (x1 - x0 + y1 - y0) / 4
        square = (centre - half, y1 - 2 * half, centre + half, y1)
        return self._predict(np.ascontiguousarray(rgb), self._rectangle(*map(round, square)))
