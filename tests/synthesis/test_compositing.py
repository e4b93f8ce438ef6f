"""What a compositor reads of a generated face."""

import cv2
import numpy as np
import pytest

from lipsync_jax import faces
from lipsync_jax.faces.roll import crop_upright
from lipsync_jax.media.planar import PlanarImage, to_rgb
from lipsync_jax.synthesis import blending
from lipsync_jax.synthesis.compositing import Compositor, first_read_row
from lipsync_jax.synthesis.options import DubbingOptions

MOVES = np.array([[0.02, -0.01], [-0.01, 0.02], [0.01, 0], [0, 0.01], [0, -0.02]])
LANDMARKS, BOX = blending.FRONTAL + MOVES, np.float32([9, 5, 369, 365])


@pytest.mark.parametrize("size", [48, 96, 256])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"source_detail": False},
        {"source_detail": False, "sharpen": False},
        {"blend": "mask", "match_colours": False},
        {"blend": "box"},
    ],
)
def test_rows_above_the_first_read_one_do_not_show(size, options):
    rng = np.random.default_rng(0)
    settings = DubbingOptions(**options)
    row = first_read_row(settings, size)
    assert row == 0 if settings.blend == "box" else (size // 4 < row < size // 2)
    frames = rng.uniform(0, 255, (3, 12, 12, 3)).astype(np.float32)
    results = []
    for spoilt in (False, True):
        composite = Compositor(settings)
        for i, small in enumerate(frames):
            frame = cv2.resize(small, (400, 380), interpolation=cv2.INTER_CUBIC)
            frame = np.clip(frame, 0, 255).astype(np.uint8)
            crop = faces.crop(frame, BOX, size)
            generated = cv2.GaussianBlur(np.roll(crop, 2, axis=0), (0, 0), 1.0)
            if spoilt:
                generated[:row] = np.random.default_rng(i).integers(0, 256, (row, size, 3))
            results.append(composite(frame, generated, crop, BOX, LANDMARKS, i / 25))
            assert (results[-1] != frame).any()
    np.testing.assert_array_equal(results[:3], results[3:])


@pytest.mark.parametrize("options", [{}, {"blend": "mask", "sharpen": False}, {"blend": "box"}])
@pytest.mark.parametrize("planes", [False, True])
def test_a_turned_face_is_composited_as_the_upright_one(options, planes):
    small = np.random.default_rng(0).uniform(0, 255, (12, 12, 3)).astype(np.float32)
    frame = cv2.resize(small, (400, 380), interpolation=cv2.INTER_CUBIC)
    frame = np.clip(frame, 0, 255).astype(np.uint8)
    box = np.float32([20, 10, 320, 350])
    crop = faces.crop(frame, box, 96)
    generated = cv2.GaussianBlur(np.roll(crop, 6, axis=0), (0, 0), 1.0)
    upright = Compositor(DubbingOptions(**options))(frame, generated, crop, box, LANDMARKS, 0.0)
    assert np.abs(upright.astype(int) - frame).max() > 20
    # The same box in the frame that is turned by 90 degrees clockwise.
    middle, half = np.array([380 - 180, 170]), np.array([150, 170])
    turned_box = np.concatenate([middle - half, middle + half])
    turned = np.ascontiguousarray(np.rot90(frame, -1))
    crop_turned = crop_upright(turned, turned_box, 90.0, 96)
    np.testing.assert_allclose(crop_turned, crop, atol=1)
    given = as_planes(turned) if planes else turned
    result = Compositor(DubbingOptions(**options))(
        given, generated, crop_turned, turned_box, LANDMARKS, 0.0, roll=90.0
    )
    difference = np.abs(np.rot90(to_rgb(result)).astype(int) - upright)
    if planes:  # chroma has half the resolution
        assert difference.mean() < 1.5
    else:
        assert difference.max() <= 12 and difference.mean() < 0.2
        outside = np.abs(upright.astype(int) - frame).max(axis=-1) == 0
        assert difference[outside].max() <= 1


def as_planes(rgb):
    yuv = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    height, width = rgb.shape[:2]
    luma, chroma = yuv[: height * width], yuv[height * width :]
    return PlanarImage(
        (luma.reshape(height, width), *chroma.reshape(2, height // 2, width // 2)), 6
    )
