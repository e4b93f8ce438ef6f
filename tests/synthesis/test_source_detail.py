"""The frame's detail in a generated face that has moved."""

import av
import cv2
import numpy as np
import pytest

from lipsync_jax import faces
from lipsync_jax.media.planar import PlanarImage, to_rgb
from lipsync_jax.synthesis import blending, source_detail
from lipsync_jax.synthesis.compositing import Compositor
from lipsync_jax.synthesis.options import DubbingOptions

BT601 = 5  # in ITU-T H.273
SIZE, SIDE = 96, 384
BOX = np.float32([20, 10, 20 + SIDE, 10 + SIDE])
MASK = blending.mouth_mask(blending.FRONTAL, SIZE)
SKIN = np.s_[240:300, 130:290]  # of the frame, inside the mask
MOVE = 3  # pixels of the crop by which the lower face moves down


@pytest.fixture(scope="module")
def frame():
    """Shapes that a crop of 96 pixels shows, and stubble that it does not."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(60, 200, (28, 28, 3)).astype(np.float32)
    coarse = cv2.resize(coarse, (424, 404), interpolation=cv2.INTER_CUBIC)
    fine = rng.normal(0, 14, (404, 424, 1)).astype(np.float32)
    return np.clip(coarse + fine, 0, 255).astype(np.uint8)


def moved(image, rows):
    return cv2.warpAffine(
        image, np.float32([[1, 0, 0], [0, 1, rows]]), image.shape[1::-1], borderMode=1
    )


def detail(image):
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return (grey - cv2.GaussianBlur(grey, (0, 0), 2))[SKIN]


def composite(image, generated, crop, **options):
    compositor = Compositor(DubbingOptions(match_colours=False, **options))
    return compositor(image, generated, crop, BOX, blending.FRONTAL, 0.0)


def test_detail_moves_with_the_generated_face(frame):
    crop = faces.crop(frame, BOX, SIZE)
    generated = cv2.GaussianBlur(moved(crop, MOVE), (0, 0), 0.6)
    expected = detail(moved(frame, MOVE * SIDE // SIZE))

    def correlation(**options):
        result = detail(composite(frame, generated, crop, **options))
        return np.corrcoef(result.ravel(), expected.ravel())[0, 1]

    assert correlation() > 0.8
    assert correlation(source_detail=False) < 0.3


def test_what_the_frame_does_not_show_gets_no_detail_of_it(frame):
    crop = faces.crop(frame, BOX, SIZE)
    generated = crop.copy()
    generated[56:76, 26:70] = 0  # a mouth that has opened
    result = composite(frame, generated, crop)
    assert np.abs(detail(result)[20:40, 30:130]).mean() < 0.1 * np.abs(detail(frame)).mean()


def test_frames_in_planes_get_the_same_detail(frame):
    video_frame = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p")
    planes = PlanarImage.from_frame(video_frame, BT601)
    rgb = to_rgb(planes)
    crop = faces.crop(rgb, BOX, SIZE)
    generated = moved(crop, MOVE)
    results = [to_rgb(composite(image, generated, crop)) for image in (rgb, planes)]
    assert np.abs(np.subtract(*map(detail, results))).mean() < 0.1 * np.abs(detail(rgb)).mean()


def test_faces_of_the_networks_size_are_blended_as_before(frame):
    small = cv2.resize(frame, None, fx=0.26, fy=0.26, interpolation=cv2.INTER_AREA)
    box = BOX * 0.26  # 100 pixels
    crop = faces.crop(small, box, SIZE)
    patch = crop.astype(np.float32)
    assert source_detail.blend(small, patch, crop, MASK, box, patch) is None


def test_hard_edges_paste_the_crop_as_it_is(frame):
    crop = faces.crop(frame, BOX, SIZE)
    results = [composite(frame, crop, crop, blend="box", source_detail=x) for x in (True, False)]
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("in_planes", [False, True])
def test_faces_may_reach_beyond_the_frame(frame, in_planes):
    image = cv2.resize(frame, None, fx=4, fy=4)
    box = np.float32([-200, 40, 1336, 1800])  # beyond the left and the lower border
    crop = faces.crop(image, box, SIZE)
    if in_planes:
        video_frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
        image = PlanarImage.from_frame(video_frame, BT601)
    patch = np.full_like(crop, 90, dtype=np.float32)
    result = to_rgb(source_detail.blend(image, patch, crop, MASK, box, patch))
    before = to_rgb(image)
    assert result.shape == before.shape
    np.testing.assert_array_equal(result[:900], before[:900])  # above the mask
    changed = (result[1100:] != before[1100:]).any(-1)
    assert changed[:, 100:1000].mean() > 0.8 and not changed[:, 1340:].any()


def test_an_unchanged_face_stays_as_it_is(frame):
    crop = faces.crop(frame, BOX, SIZE)
    patch = crop.astype(np.float32)
    result = source_detail.blend(frame, patch, crop, MASK, BOX, patch)
    assert np.abs(result.astype(float) - frame)[SKIN].mean() < 0.2  # levels


def test_a_face_outside_of_the_frame_changes_nothing(frame):
    crop = faces.crop(frame, BOX, SIZE)
    patch, box = crop.astype(np.float32), BOX + 2000
    result = source_detail.blend(frame, patch + 50, crop, MASK, box, patch)
    np.testing.assert_array_equal(result, frame)


def test_edges_of_a_mouth_that_has_opened_keep_their_hue():
    skin = np.full((404, 424, 3), (180, 140, 120), np.uint8)
    video_frame = av.VideoFrame.from_ndarray(skin, format="rgb24").reformat(format="yuv420p")
    planes = PlanarImage.from_frame(video_frame, BT601)
    crop = faces.crop(planes, BOX, SIZE)
    generated = crop.astype(np.float32)
    for row in range(58, 76, 4):  # grey teeth and dark gaps
        generated[row : row + 2, 30:66] = 120
        generated[row + 2 : row + 4, 30:66] = 10
    result = source_detail.blend(planes, generated, crop, MASK, BOX, generated)
    for before, after in zip(planes.planes[1:], result.planes[1:], strict=True):
        # From skin to grey, and not beyond but for the overshoot of bicubic interpolation.
        low, high = sorted((int(before[0, 0]), 128))
        assert low - 5 <= after.min() and after.max() <= high + 5
