import numpy as np
import pytest

from lipsync_jax import faces
from lipsync_jax.faces import following
from lipsync_jax.faces.detectors.base import Face

RNG = np.random.default_rng(0)
HEAD = RNG.integers(0, 256, (12, 12, 3)).repeat(6, 0).repeat(6, 1).astype(np.uint8)
# A head that waits, then moves quickly, then waits.
PLACES = [20, 20, 20, 26, 32, 32, 32, 32, 32, 32, 32]


def frame_at(x, y=30):
    image = np.full((160, 220, 3), 90, np.uint8)
    image[y : y + 72, x : x + 72] = HEAD
    return image


class Detector:
    """Finds the head where `frame_at` painted it; counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, rgb):
        self.calls += 1
        rows, columns = np.nonzero((rgb != 90).any(-1))
        if not len(rows):
            return []
        box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)
        return [Face(box, 0.9, np.full((5, 2), box[:2].mean(), np.float32))]


def test_the_flow_finds_where_a_head_moved_between_detections():
    images = [frame_at(x) for x in PLACES[:6]]
    moved = following.deviations(images, np.array([20, 30, 92, 102]))
    expected = np.array(PLACES[:6]) - np.linspace(20, 32, 6)
    np.testing.assert_allclose(moved[:, 0], expected, atol=0.5)
    np.testing.assert_allclose(moved[:, 1], 0, atol=0.5)
    assert not moved[0].any() and not moved[-1].any()


def test_nothing_to_follow_is_no_motion():
    blank = [np.full((60, 60, 3), 80, np.uint8)] * 4
    np.testing.assert_allclose(following.deviations(blank, np.array([10, 10, 30, 30])), 0, atol=0.5)


def test_a_followed_face_is_where_it_is_detected_in_every_frame():
    images = [frame_at(x) for x in PLACES]
    detector = Detector()
    (found,) = faces.track_faces(images, detector, detect_every=5, follow=True)
    assert detector.calls == 3 and found.detected.sum() == 3
    np.testing.assert_allclose(found.boxes[:, 0], PLACES, atol=0.5)
    np.testing.assert_allclose(found.boxes[:, 2], np.array(PLACES) + 72, atol=0.5)
    (interpolated,) = faces.track_faces(images, Detector(), detect_every=5)
    assert np.abs(interpolated.boxes[:, 0] - PLACES).max() > 3


@pytest.mark.parametrize("first, last", [(3, 8), (1, 9), (4, 5)])
def test_a_face_that_comes_and_goes_is_found_in_the_frames_in_which_it_is_seen(first, last):
    blank = np.full((160, 220, 3), 90, np.uint8)
    images = [frame_at(30) if first <= i <= last else blank for i in range(14)]
    options = {"detect_every": 5, "follow": True, "scene_cut_threshold": 1.0}
    every = faces.track_faces(images, Detector(), scene_cut_threshold=1.0)
    followed = faces.track_faces(images, Detector(), **options)
    assert [t.frames for t in followed] == [t.frames for t in every]


def test_the_last_frame_of_a_shot_and_of_the_video_are_looked_at():
    dark = [frame_at(30 + i) // 3 for i in range(4)]
    images = [frame_at(60 - 2 * i) for i in range(8)] + dark

    def detector(rgb):
        return Detector()(rgb if rgb.max() > 100 else np.where(rgb == 30, 90, rgb))

    cut, rest = faces.track_faces(images, detector, detect_every=5, follow=True)
    assert (cut.frames, rest.frames) == (range(8), range(8, 12))
    assert cut.detected[[0, 5, 7]].all() and rest.detected[[0, 3]].all()


def test_a_far_jump_is_detected_frame_by_frame():
    images = [frame_at(x) for x in (10, 10, 20, 30, 40, 50, 50, 50, 50, 50)]
    detector = Detector()
    (found,) = faces.track_faces(images, detector, detect_every=5, follow=True)
    assert found.detected[:6].all() and detector.calls == 7
