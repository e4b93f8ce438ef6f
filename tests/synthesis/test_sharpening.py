"""Sharpening of painted textures."""

import cv2
import numpy as np
import pytest

from lipsync_jax.synthesis import blending
from lipsync_jax.synthesis.compositing import Compositor
from lipsync_jax.synthesis.options import DubbingOptions
from lipsync_jax.synthesis.sharpening import MAX_GAIN, Sharpener

MASK = blending.mouth_mask(blending.FRONTAL, 96)
BOX = np.float32([10, 10, 202, 202])


def face(seed=0):
    """Returns skin with strokes of many widths."""
    image = np.full((96, 96, 3), 150, np.uint8)
    rng = np.random.default_rng(seed)
    for _ in range(60):
        a, b = rng.integers(0, 96, (2, 2)).tolist()
        cv2.line(image, a, b, [int(rng.integers(90, 210))] * 3, int(rng.integers(1, 4)))
    return image


def blurred(image, sigma=1.2):
    return cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma)


def error(image, truth):
    return np.average(np.abs(image - truth.astype(np.float32)).mean(-1), weights=MASK)


def test_a_blurred_face_comes_closer_to_the_true_one():
    truth, sharpener = face(), Sharpener()
    patch = blurred(truth)
    sharp = sharpener(patch, truth, MASK, 0.0)
    assert 1.2 < sharpener.gain <= MAX_GAIN
    assert error(sharp, truth) < 0.9 * error(patch, truth)
    assert np.ptp(sharp - patch, axis=-1).max() < 1e-3  # luminance only: no coloured rims


@pytest.mark.parametrize("sigma", [0, 2.5])
def test_a_face_as_sharp_as_its_frame_or_sharper_stays_unchanged(sigma):
    truth = face()
    original = np.rint(blurred(truth, sigma)).astype(np.uint8) if sigma else truth
    patch = truth.astype(np.float32)
    np.testing.assert_allclose(Sharpener()(patch, original, MASK, 0.0), patch, atol=1e-3)


def test_the_gain_changes_slowly_and_a_pause_resets_the_gain():
    truth, sharpener, gains = face(), Sharpener(), []
    rng = np.random.default_rng(0)
    for i in range(30):
        sharpener(blurred(truth, rng.uniform(0.8, 1.6)), truth, MASK, i / 25)
        gains.append(sharpener.gain)
    assert np.abs(np.diff(gains[10:])).max() < 0.06
    sharpener(truth.astype(np.float32), truth, MASK, 5.0)
    assert sharpener.gain == 1


def test_ripples_on_smooth_skin_are_amplified_less_than_edges():
    patch = np.full((96, 96, 3), 150, np.float32)
    patch[:, 48:] = 90
    patch[::2] += 0.5
    truth, sharpener = face(), Sharpener()
    change = np.abs(sharpener(patch, truth, MASK, 0.0) - patch)
    assert sharpener.gain > 1.5
    assert change[:, 20:40].max() < 0.05 and change[:, 47:49].min() > 5


def test_a_flat_patch_stays_flat():
    flat = np.full((96, 96, 3), 99, np.float32)
    np.testing.assert_allclose(Sharpener()(flat, face(), MASK, 0.0), flat, atol=1e-3)


def test_composited_faces_are_sharpened_unless_switched_off():
    truth = face()
    frame = cv2.resize(truth, (212, 212), interpolation=cv2.INTER_CUBIC)
    crop = cv2.resize(frame[10:202, 10:202], (96, 96), interpolation=cv2.INTER_AREA)
    generated = np.rint(blurred(crop)).astype(np.uint8)

    def detail(**options):
        composite = Compositor(DubbingOptions(match_colours=False, source_detail=False, **options))
        result = composite(frame, generated, crop, BOX, blending.FRONTAL, 0.0)[120:190, 50:160]
        return cv2.Laplacian(result.astype(np.float32), cv2.CV_32F).std()

    assert detail() > 1.3 * detail(sharpen=False)
    assert detail(blend="box") == detail(blend="box", sharpen=False)
