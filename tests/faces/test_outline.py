"""Outlines of painted faces in front of walls, with necks, beards and hair."""

import cv2
import numpy as np
import pytest

from lipsync_jax.faces.outline import NUM_RAYS, FaceFrame, FaceOutline, outline_mask
from lipsync_jax.synthesis import blending
from lipsync_jax.synthesis.compositing import Compositor
from lipsync_jax.synthesis.options import DubbingOptions

SIZE = 96
SKIN, WALL, LIPS = (205, 155, 130), (90, 110, 140), (160, 80, 80)
FRONTAL = blending.FRONTAL.astype(np.float32)
TURNED = FRONTAL - np.float32([0.14, 0])  # to the image's left: the wall is seen beside the jaw


def painted(landmarks=FRONTAL, wall=WALL, beard=None, breadth=36, noise=4, seed=0):
    """Returns a crop, uint8 RGB, and the mask of its face, bool."""
    face = np.zeros((SIZE, SIZE), np.uint8)
    center = np.mean([landmarks[:2].mean(0), landmarks[3:].mean(0)], axis=0) * SIZE
    cv2.ellipse(face, (*center.round().astype(int).tolist(),), (breadth, 45), 0, 0, 360, 1, -1)
    image = np.empty((SIZE, SIZE, 3), np.float32)
    image[:] = wall
    image[70:, 36:60] = np.float32(SKIN) * 0.8  # the neck
    image[face > 0] = SKIN
    mouth = (landmarks[3:].mean(0) * SIZE).round().astype(int)
    if beard is not None:
        below = (np.mgrid[:SIZE, :SIZE][0] > mouth[1] - 8) & (face > 0)
        image[below] = beard
    cv2.ellipse(image, (*mouth.tolist(),), (14, 5), 0, 0, 360, LIPS, -1)
    image += np.random.default_rng(seed).normal(0, noise, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), face > 0


def lab(image):
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)


def mask_of(image, landmarks=FRONTAL):
    return outline_mask(FaceOutline()(lab(image), landmarks, 0.0), landmarks, SIZE)


@pytest.mark.parametrize("landmarks", [FRONTAL, TURNED])
@pytest.mark.parametrize("beard", [None, (60, 45, 40)])
def test_the_mask_ends_where_the_face_does(landmarks, beard):
    image, face = painted(landmarks, beard=beard)
    mask = mask_of(image, landmarks)
    rows = slice(48, 80)
    beside = cv2.dilate(face.astype(np.uint8), np.ones((7, 7))) == 0
    assert mask[rows][beside[rows]].max() < 0.05
    x, y = (landmarks[3:].mean(0) * SIZE).astype(int)
    assert mask[y - 4 : y + 12, x - 12 : x + 12].min() > 0.8  # lips and chin
    assert mask.dtype == np.float32 and np.abs(np.diff(mask[rows], axis=1)).max() < 0.3


def test_a_wall_of_the_skins_colour_does_not_change_the_mask():
    image, _ = painted(wall=SKIN)
    assert mask_of(image)[48:, 4:-4].min() > 0.9


def test_no_second_jaw_appears_on_the_wall():
    image, face = painted(TURNED, breadth=28)
    generated, _ = painted(FRONTAL)  # its jaw is elsewhere
    box = np.float32([0, 0, SIZE, SIZE])
    wall = cv2.dilate(face.astype(np.uint8), np.ones((7, 7))) == 0
    wall[70:] = False

    def spill(blend):
        composite = Compositor(DubbingOptions(blend=blend, match_colours=False))
        result = composite(image, generated, image, box, TURNED, 0.0)
        return np.abs(result.astype(int) - image)[wall].mean()

    assert spill("mask") > 0.5
    assert spill("outline") < 0.02


def test_noise_does_not_move_the_outline():
    steady, moved = FaceOutline(), []
    for i in range(20):
        image, _ = painted(noise=12, seed=i)
        ends = steady(lab(image), FRONTAL, i / 25)
        moved.append(outline_mask(ends, FRONTAL, SIZE))
    assert np.abs(np.diff(moved[5:], axis=0)).mean() < 0.001


@pytest.mark.parametrize("later", [3.0, -1.0])
def test_a_pause_or_a_step_back_restarts_the_average(later):
    outline = FaceOutline()
    outline(lab(painted(wall=SKIN)[0]), FRONTAL, 0.0)
    image = lab(painted(seed=2)[0])
    np.testing.assert_array_equal(
        outline(image, FRONTAL, later), FaceOutline()(image, FRONTAL, 0.0)
    )


@pytest.mark.parametrize("points", [np.full((5, 2), 0.6), FRONTAL + 0.6, FRONTAL[::-1]])
def test_degenerate_landmarks_still_give_an_outline(points):
    ends = FaceOutline()(lab(painted()[0]), points.astype(np.float32), 0.0)
    assert ends.shape == (NUM_RAYS,) and np.isfinite(ends).all()
    assert np.isfinite(outline_mask(ends, points, SIZE)).all()


def test_coordinates_rotate_with_the_face():
    angle = 0.4
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (FRONTAL - 0.5) @ turn.T + 0.5
    frame, straight = FaceFrame.from_landmarks(points), FaceFrame.from_landmarks(FRONTAL)
    assert frame.length == pytest.approx(straight.length, rel=1e-5)
    np.testing.assert_allclose(frame.across, turn[:, 0], atol=1e-6)
    u, v = frame.coordinates(SIZE)
    x, y = (frame.centre * SIZE).astype(int)
    assert abs(u[y, x]) < 0.05 and abs(v[y, x]) < 0.05
