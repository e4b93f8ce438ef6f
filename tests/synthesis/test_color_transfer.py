"""Colour transfer on painted skin: casts, gradients, other mouths, temporal averages."""

import cv2
import numpy as np
import pytest

from lipsync_jax.synthesis import blending, color_transfer
from lipsync_jax.synthesis.color_transfer import ColorTransfer
from lipsync_jax.synthesis.compositing import Compositor
from lipsync_jax.synthesis.options import DubbingOptions

SIZE = 96
WEIGHTS = color_transfer.skin_weights(blending.FRONTAL, SIZE)
BOX = np.float32([20, 10, 180, 210])


def skin(mouth=(150, 60, 60), noise=4, seed=0):
    """Returns a face lit from the left, with a mouth."""
    light = np.linspace(1.1, 0.8, SIZE)[None, :, None]
    image = np.broadcast_to(light * [200, 150, 125], (SIZE, SIZE, 3)).copy()
    image += np.random.default_rng(seed).normal(0, noise, image.shape)
    image[60:69, 34:62] = mouth
    return np.clip(image, 0, 255).astype(np.uint8)


def degraded(face, lightness=8.0, gradient=6.0, cast=(7, -6)):
    lab = color_transfer.to_lab(face)
    lab[..., 0] += lightness + gradient * np.linspace(-1, 1, SIZE)
    lab[..., 1:] += np.float32(cast)
    return np.rint(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB) * 255).astype(np.uint8)


def transferred(generated, face, transfer=None, seconds=0.0, weights=WEIGHTS):
    return (transfer or ColorTransfer())(generated, color_transfer.to_lab(face), weights, seconds)


def distance(a, b):
    difference = color_transfer.to_lab(a) - color_transfer.to_lab(b)
    return float(np.linalg.norm(difference[48:], axis=-1).mean())


def test_a_cast_and_a_gradient_are_removed():
    face = skin()
    generated = degraded(face)
    moved = np.rint(np.clip(transferred(generated, face), 0, 255)).astype(np.uint8)
    assert distance(generated, face) > 10
    assert distance(moved, face) < 1.0


def test_another_mouth_keeps_its_own_colours():
    generated = skin(mouth=(40, 20, 20))
    moved = transferred(generated, skin())
    assert np.abs(moved - generated).max() < 3


def test_content_of_only_one_crop_does_not_count():
    face, generated = skin(), skin()
    face[:, :14] = (20, 160, 40)  # a wall that the generated cheek covers
    moved = transferred(generated, face)
    assert np.abs(moved[50:90, 30:] - generated[50:90, 30:]).mean() < 2


def test_the_upper_edge_is_no_steeper_than_in_the_source():
    frame = cv2.resize(skin(), (200, 220), interpolation=cv2.INTER_CUBIC)
    crop = np.ascontiguousarray(cv2.resize(frame[10:210, 20:180], (SIZE, SIZE)))
    compositor = Compositor(DubbingOptions())
    result = compositor(frame, degraded(crop), crop, BOX, blending.FRONTAL, 0.0)
    lab = color_transfer.to_lab(result)
    above, below = lab[95:108, 60:140].mean((0, 1)), lab[128:134, 60:140].mean((0, 1))
    assert np.linalg.norm(above - below) < 1.5
    assert (result[:105] == frame[:105]).all()


def test_noise_in_the_colours_does_not_flicker():
    face = skin()
    steady, alone = ColorTransfer(), []
    moved, rng = [], np.random.default_rng(1)
    for i in range(20):
        generated = degraded(face, lightness=8 + rng.normal(0, 2))
        original = generated.astype(np.float32)
        moved.append((transferred(generated, face, steady, i / 25) - original)[70:, 20:70].mean())
        alone.append((transferred(generated, face) - original)[70:, 20:70].mean())
    assert np.abs(np.diff(moved[3:])).mean() < 0.35 * np.abs(np.diff(alone[3:])).mean()


@pytest.mark.parametrize("later", [3.0, -1.0])
def test_a_pause_or_a_step_back_restarts_the_average(later):
    face, generated = skin(), degraded(skin(seed=1), lightness=-9)
    transfer = ColorTransfer()
    transferred(degraded(face), face, transfer)
    np.testing.assert_array_equal(
        transferred(generated, face, transfer, later), transferred(generated, face)
    )


def test_another_shot_restarts_the_average():
    frame = cv2.resize(skin(), (400, 220), interpolation=cv2.INTER_CUBIC)
    crop, elsewhere = skin(), BOX + np.float32([200, 0, 200, 0])
    compositor = Compositor(DubbingOptions())
    compositor(frame, degraded(crop), crop, BOX, blending.FRONTAL, 0.0)
    generated = degraded(crop, lightness=-9)
    np.testing.assert_array_equal(
        compositor(frame, generated, crop, elsewhere, blending.FRONTAL, 0.04),
        Compositor(DubbingOptions())(frame, generated, crop, elsewhere, blending.FRONTAL, 0.0),
    )


def test_a_crop_without_skin_still_gets_colours():
    nothing = np.zeros((SIZE, SIZE), np.float32)
    moved = transferred(skin(), skin(), weights=nothing)
    assert np.isfinite(moved).all() and np.abs(moved - skin()).max() < 1


def test_the_published_box_keeps_the_generated_colours():
    frame, crop = np.zeros((220, 200, 3), np.uint8), skin()
    result = Compositor(DubbingOptions(blend="box"))(
        frame, crop, skin(), BOX, blending.FRONTAL, 0.0
    )
    assert np.abs(result[20:200, 30:170].astype(int).mean() - crop.mean()) < 3
    unmoved = Compositor(DubbingOptions(match_colours=False))(
        frame, crop, skin((0, 0, 0)), BOX, blending.FRONTAL, 0.0
    )
    assert unmoved.any()


def test_a_black_and_white_film_gets_no_colour():
    grey = np.repeat(cv2.cvtColor(skin(), cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    generated = grey.copy()
    generated[60:69, 34:62] = (150, 60, 60)
    moved = transferred(generated, grey)
    assert np.ptp(moved, axis=-1).max() < 0.5
    assert np.abs(moved - grey)[:55].max() < 1
    # With colour in the film, the mouth keeps its own.
    assert np.ptp(transferred(generated, skin()), axis=-1)[60:69, 34:62].min() > 60
