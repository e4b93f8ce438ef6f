import numpy as np
import pytest

from lipsync_jax.faces import alignment
from lipsync_jax.synthesis import blending

BOX = np.float32([20.3, 10.6, 80.1, 90.2])


@pytest.mark.parametrize("shift", [(0, 0), (0.1, 0.05), (-0.2, 0.1)])
def test_the_mask_covers_the_mouth_and_ends_before_the_box_does(shift):
    points = blending.FRONTAL + np.array(shift)
    mask = blending.mouth_mask(points, 96)
    assert mask.dtype == np.float32 and mask.min() == 0 and mask.max() <= 1
    assert not mask[:48].any()
    assert not mask[-1].any() and not mask[:, 0].any() and not mask[:, -1].any()
    x, y = (96 * points[3:].mean(axis=0)).astype(int)
    assert mask[y, x] > 0.95
    assert np.abs(np.diff(mask, axis=0)).max() < 0.4  # no edge to be seen


def test_unknown_landmarks_stand_for_a_frontal_face():
    unknown = np.full((5, 2), np.nan, np.float32)
    np.testing.assert_allclose(
        blending.mouth_mask(unknown, 48), blending.mouth_mask(blending.FRONTAL, 48)
    )


def test_landmarks_on_top_of_each_other_still_make_a_mask():
    mask = blending.mouth_mask(np.full((5, 2), 0.6), 48)
    assert np.isfinite(mask).all()


def test_a_colour_cast_is_removed():
    face = np.random.default_rng(0).integers(60, 180, (48, 48, 3), np.uint8)
    mask = blending.mouth_mask(blending.FRONTAL, 48)
    cast = (face + np.array([20, -10, 5])).astype(np.uint8)
    np.testing.assert_allclose(blending.match_colours(cast, face, mask), face, atol=0.01)
    # A different mouth well inside the mask does not count.
    mouth = face.copy()
    mouth[33:39, 20:28] = 0
    matched = blending.match_colours(mouth, face, mask)
    assert np.abs(matched - mouth).max() < 3


@pytest.mark.parametrize("shift", [0, -45, 55])
def test_only_what_the_mask_covers_changes(shift):
    image = np.random.default_rng(1).integers(0, 255, (100, 100, 3), np.uint8)
    box = BOX + np.float32([shift, 0, shift, 0])
    mask = blending.mouth_mask(np.full((5, 2), np.nan), 48)
    result = blending.blend(image, np.full((48, 48, 3), 300.0, np.float32), mask, box)
    changed = (result != image).any(axis=-1)
    rows, columns = np.nonzero(changed)
    assert changed.any() and rows.min() >= 50 and rows.max() < 90
    assert columns.min() >= box[0] and columns.max() < box[2]
    assert result[changed].max() == 255


def test_a_full_mask_pastes_the_patch_with_its_place_exact():
    image = np.zeros((20, 20, 3), np.uint8)
    patch = np.random.default_rng(2).uniform(0, 255, (8, 8, 3)).astype(np.float32)
    result = blending.blend(image, patch, blending.box_mask(8), np.float32([4, 6, 12, 14]))
    np.testing.assert_array_equal(result[6:14, 4:12], np.rint(patch))
    assert not result[:6].any() and not result[14:].any() and not result[:, :4].any()


def test_a_box_outside_the_picture_changes_nothing():
    image = np.full((20, 20, 3), 7, np.uint8)
    patch = np.zeros((8, 8, 3), np.float32)
    result = blending.blend(image, patch, blending.box_mask(8), np.float32([40, 6, 52, 14]))
    np.testing.assert_array_equal(result, image)


def test_an_aligned_frame_goes_back_to_where_it_came_from():
    y, x = np.mgrid[:150, :140].astype(np.float32)
    image = np.stack([128 + 50 * np.sin(x / 9), 128 + 50 * np.cos(y / 8), x], -1).astype(np.uint8)
    turn = 0.9 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = turn, [-8, -30]
    crop = alignment.warp_crop(image, matrix)
    everywhere = np.full_like(image, 255)
    mask = blending.frame_mask((alignment.warp_crop(everywhere, matrix) == 255).all(axis=-1))
    again = blending.blend_aligned(image, crop.astype(np.float32), mask, matrix)
    assert np.abs(again.astype(int) - image).max() < 8
    other = blending.blend_aligned(image, np.full((128, 96, 3), 255, np.float32), mask, matrix)
    changed = (other != image).any(axis=-1)
    rows, columns = np.nonzero(changed)
    inside = alignment.transform_points(np.stack([columns, rows], axis=-1) + 0.5, matrix)
    assert len(rows) > 5000 and (inside > -0.5).all() and (inside < [96.5, 128.5]).all()
    np.testing.assert_array_equal(image, blending.blend_aligned(image, crop, mask, matrix - 900))


def test_a_frame_fades_at_its_sides_and_where_its_picture_ends():
    covered = np.ones((128, 96), bool)
    covered[:, 70:] = False
    mask = blending.frame_mask(covered)
    assert mask.max() == 1 and mask[64, 35] == 1
    assert not mask[:, 69:].any() and not mask[0].any() and not mask[:, 0].any()
    assert np.abs(np.diff(mask, axis=1)).max() < 0.3
