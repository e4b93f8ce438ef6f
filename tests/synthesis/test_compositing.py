"""What a compositor reads of a generated face."""

import cv2
import numpy as np
import pytest

from lipsync_jax import faces
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
