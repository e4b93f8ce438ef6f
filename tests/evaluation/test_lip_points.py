"""Landmarks of lips that are laid over a face, with stand-ins for both networks."""

import numpy as np
import pytest

from lipsync_jax.evaluation.lip_points import LipLandmarks
from lipsync_jax.faces import alignment
from lipsync_jax.media import video_reader
from tests.helpers import reference_images

FACE = (30, 30, 120, 120)


class Bluest:
    """Says that all 68 points are where the picture is bluest."""

    def points(self, rgb, box):
        self.shape, self.box = rgb.shape, box
        y, x = np.unravel_index(rgb[..., 2].argmax(), rgb.shape[:2])
        return np.full((68, 2), (x, y), np.float32)


@pytest.fixture
def picture(tmp_path):
    """With a face, BGR."""
    frames = next(
        video_reader.read_frames(reference_images.write_face_image(tmp_path / "face.png", FACE))
    ).image
    return np.ascontiguousarray(frames[..., ::-1])


def over(picture):
    landmarks = Bluest()
    return LipLandmarks(landmarks, picture, reference_images.DETECTOR["detector"]), landmarks


def test_points_are_those_of_the_crop(picture):
    points, landmarks = over(picture)
    lips = np.zeros((2, 64, 64, 3), np.uint8)
    lips[0, 20, 40, 0] = lips[1, 60, 3, 0] = 255
    found = points(lips)
    assert found.shape == (2, 20, 2) and found.dtype == np.float32
    np.testing.assert_array_equal(found[:, 0], [[40, 20], [3, 60]])
    # Where the face is whose lips the crop covers.
    (face,) = reference_images.DETECTOR["detector"](picture[..., ::-1])
    matrix = alignment.align_matrix(face.landmarks, alignment.CANONICAL["lips"])
    margin = (np.array(landmarks.shape[1::-1]) - 64) / 2
    expected = alignment.transform_points(face.box.reshape(2, 2), matrix) + margin
    np.testing.assert_allclose(landmarks.box.reshape(2, 2), expected, atol=1e-3)


def test_a_face_gets_its_own_lips_back(picture):
    points, _ = over(picture)
    (found,) = reference_images.DETECTOR["detector"](picture[..., ::-1])
    matrix = alignment.align_matrix(found.landmarks, alignment.CANONICAL["lips"])
    own = alignment.warp_crop(picture, matrix, (64, 64))
    other = points.paste(255 - own)
    same = points.paste(own)
    rows, columns = np.nonzero((same != other).any(axis=-1))
    assert (np.ptp(rows), np.ptp(columns)) == (63, 63)
    left, top = columns.min(), rows.min()
    beside = np.abs(np.diff(same[top : top + 64, left - 1 : left + 65].astype(int), axis=1))
    assert beside[:, 0].max() <= 16 and beside[:, -1].max() <= 16  # no edge where it is laid in


def test_a_picture_without_a_face_is_refused():
    with pytest.raises(ValueError, match="shows no face; give another"):
        LipLandmarks(Bluest(), np.zeros((80, 80, 3), np.uint8), lambda picture: [])
