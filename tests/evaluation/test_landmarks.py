"""dlib's landmarks and embedding, where the extra is installed."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from lipsync_jax import faces
from lipsync_jax.evaluation import landmarks
from lipsync_jax.evaluation.metrics.blinks import eye_aspect_ratio

IMAGES = Path(__file__).parents[1] / "golden" / "metrics" / "images.npz"
needs_extra = pytest.mark.skipif(
    bool(landmarks.missing_packages()), reason="the extra is not installed"
)


@needs_extra
def test_a_face_has_its_points_and_is_itself():
    with np.load(IMAGES) as stored:
        image, blurred = stored["astronaut_rgb"], stored["astronaut_rgb_s2"]
    (face, *_) = faces.detect(image)
    model = landmarks.Landmarks()
    points = model.points(image, face.box)
    assert points.shape == (68, 2)
    corners = points[[48, 54]]
    np.testing.assert_allclose(corners, face.landmarks[3:], atol=6)
    assert 0.2 < eye_aspect_ratio(points) < 0.5
    same, alike = (model.embedding(picture, face.box) for picture in (image, blurred))
    assert same.shape == (128,)
    assert np.linalg.norm(same - alike) < 0.6
    moved = face.box + np.array([0, 30, 0, 30], np.float32)
    assert np.linalg.norm(same - model.embedding(image[::-1].copy(), moved)) > 0.6


def test_what_is_missing_is_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'lipsync_jax[landmarks]'" in landmarks.missing_packages()
    with pytest.raises(ImportError, match="dlib and face_recognition_models not installed"):
        landmarks.Landmarks()
