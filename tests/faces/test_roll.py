from fractions import Fraction

import cv2
import numpy as np
import pytest

from lipsync_jax import faces
from lipsync_jax.data_prep.synthetic.face import FaceState, Identity, Portrait
from lipsync_jax.faces import roll, trajectory
from lipsync_jax.media import video_reader
from lipsync_jax.media.planar import PlanarImage

UPRIGHT = np.float32([[40, 40], [60, 40], [50, 52], [42, 62], [58, 62]])


@pytest.fixture(scope="module")
def portrait():
    person = Portrait(Identity.sample(np.random.default_rng(1)), 60)
    bgr = person.render(FaceState(), (160, 160), (-2.6, -2.45, 2.6, 2.75))
    return np.ascontiguousarray(bgr[..., ::-1])


def tilted(image, degrees, side=320):
    """Turns an image clockwise around its middle, on a larger one."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), -degrees, 1)
    matrix[:, 2] += [(side - width) / 2, (side - height) / 2]
    return cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)


def distance(a, b):
    return abs((a - b + 180) % 360 - 180)


def test_the_roll_of_landmarks():
    for degrees in (-170, -90, -20, 0, 35, 90):
        turned = roll.turned(UPRIGHT - 50, degrees)
        assert distance(float(roll.landmark_roll(turned)), degrees) < 1e-6
    assert roll.landmark_roll(np.full((3, 5, 2), np.nan)).tolist() == [0, 0, 0]
    # Small rolls are left to the network, larger ones are removed, and nothing jumps.
    steps = roll.crop_roll(np.linspace(-40, 40, 161))
    assert not steps[60:101].any() and steps[[0, -1]].tolist() == [-40, 40]
    assert (np.diff(steps) >= 0).all() and np.diff(steps).max() < 1.5


@pytest.mark.parametrize("degrees", [-60, -45, 35, 60, 120, 180])
def test_tilted_faces_are_found_as_they_are(portrait, degrees):
    image = tilted(portrait, degrees)
    (truth,) = faces.detect(tilted(portrait, 0))
    (detected,) = faces.detect(image)
    face = roll.find_roll(image, detected, "auto")
    expected = roll.turned(truth.landmarks - 160, degrees) + 160
    between_eyes = np.linalg.norm(truth.landmarks[1] - truth.landmarks[0])
    assert np.abs(face.landmarks - expected).max() < 0.3 * between_eyes
    assert np.abs(detected.landmarks - expected).max() > np.abs(face.landmarks - expected).max()
    sides = [box[2:] - box[:2] for box in (face.box, truth.box)]
    np.testing.assert_allclose(*sides, rtol=0.12)


def test_upright_faces_stay_as_detected(portrait):
    for degrees in (-8, 0, 8):
        image = tilted(portrait, degrees)
        (detected,) = faces.detect(image)
        assert roll.find_roll(image, detected, "auto") is detected
    unknown = faces.Face(detected.box, 0.5, np.full((5, 2), np.nan, np.float32))
    assert roll.find_roll(image, unknown, "auto") is unknown
    # A detector from elsewhere may be right about tilted faces.
    assert roll.find_roll(image, unknown, lambda _: []) is unknown


def test_a_head_that_tilts_is_followed_without_a_jump(portrait):
    degrees = np.linspace(0, 90, 60)
    images = [tilted(portrait, angle) for angle in degrees]
    frames = [video_reader.Frame(Fraction(i, 25), image, i) for i, image in enumerate(images)]
    options = trajectory.FaceOptions()
    found = trajectory.track_video(frames, Fraction(25), options)
    path = trajectory.face_trajectory(found, found.tracks, options)
    assert len(found.tracks) == 1 and np.isfinite(path.boxes).all()
    assert not path.rolls[:6].any()
    assert np.abs(path.rolls - degrees)[26:].max() < 8
    assert np.diff(path.rolls).min() > -3 and np.diff(path.rolls).max() < 15
    # In its turned box the head looks as at the beginning.
    first, last = (
        roll.crop_upright(images[i], path.boxes[i], path.rolls[i], 48).astype(float)
        for i in (0, 55)
    )
    assert np.corrcoef(first.ravel(), last.ravel())[0, 1] > 0.9
    np.testing.assert_allclose(path.landmarks[55], path.landmarks[0], atol=0.06)


def test_views_of_images_and_of_planes(portrait):
    image = tilted(portrait, 40)
    box = np.float32([100, 90, 220, 230])
    view = roll.upright_view(image, box, 40.0)
    assert view.image.shape == (144, 124, 3) and view.box.tolist() == [2, 2, 122, 142]
    # The middle of the box is the middle of the view.
    middle = view.matrix @ [159.5, 159.5, 1]
    np.testing.assert_allclose(middle[:2] + 0.5, [62, 72], atol=1e-6)
    upright = faces.crop(tilted(portrait, 0), box, (140, 120))
    inside = view.image[2:-2, 2:-2]
    assert np.abs(inside.astype(int) - upright).mean() < 3
    yuv = cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    luma, chroma = yuv[: 320 * 320], yuv[320 * 320 :].reshape(2, 160, 160)
    planes = PlanarImage((luma.reshape(320, 320), *chroma), 6)
    from_planes = roll.upright_view(planes, box, 40.0).image
    assert np.abs(from_planes.astype(int) - view.image).mean() < 3
    np.testing.assert_array_equal(
        roll.crop_upright(image, box, 0.0, 96), faces.crop(image, box, 96)
    )
