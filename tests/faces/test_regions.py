"""The mouth regions, and crops of them."""

import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax.data.clip import CROP_SPECS
from lipsync_jax.faces import alignment, boxes, regions

REGIONS = [value for value in vars(regions).values() if isinstance(value, regions.Region)]


@pytest.mark.parametrize("size", [(96, 96), (128, 128), (256, 256), (128, 96)])
@pytest.mark.parametrize("xp", [np, jnp])
def test_a_crop_has_the_region_of_the_last_axes(size, xp):
    images = xp.arange(2 * 3 * size[0] * size[1] * 3).reshape(2, 3, *size, 3)
    for region in REGIONS:
        rows, columns = region.slices(*size)
        cropped = regions.crop_mouth(images, region)
        assert type(cropped) is type(images)
        np.testing.assert_array_equal(cropped, images[:, :, rows, columns])
        np.testing.assert_array_equal(regions.crop_mouth(images[0, 0], region), cropped[0, 0])


def test_regions_of_the_published_sizes():
    assert regions.MOUTH_FACE96.slices(96, 96) == (slice(53, 91), slice(24, 72))
    assert regions.MOUTH_ALIGNED.slices(128, 96) == (slice(74, 108), slice(26, 74))
    assert regions.MOUTH_LIP_READING.slices(96, 96) == (slice(48, 96), slice(16, 80))
    assert regions.MOUTH_FLOW.slices(64, 64) == (slice(32, 64), slice(13, 51))


def test_regions_contain_the_mouth_of_their_crops():
    low, high = boxes.MOUTH_CORNER_ROWS
    for region in (regions.MOUTH_FACE96, regions.MOUTH_LIP_READING, regions.MOUTH_FLOW):
        assert region.top <= low and high <= region.bottom
        assert region.left < 0.5 < region.right
    height, width = alignment.FRAME_SIZE
    mouth = np.array([alignment.LIPS_LEFT, alignment.LIPS_TOP]) + alignment.LIPS_SIDE / 2
    rows, columns = regions.MOUTH_ALIGNED.slices(height, width)
    assert columns.start < mouth[0] < columns.stop and rows.start < mouth[1] < rows.stop


def test_every_crop_has_pixels_in_every_region():
    for spec in CROP_SPECS.values():
        for region in REGIONS:
            rows, columns = region.slices(spec.height, spec.width)
            assert 0 <= rows.start < rows.stop <= spec.height
            assert 0 <= columns.start < columns.stop <= spec.width
