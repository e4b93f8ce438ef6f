"""The alignment of faces against the library that the published code calls."""

import numpy as np
import pytest

from lipsync_jax.faces import alignment
from tests.golden.tgan import recipe

PICTURES = {
    "upright": (5, (240, 200)),
    "rotated": (6, (300, 260)),
    "edge": (7, (150, 130)),
    "small": (8, (100, 90)),
}


@pytest.fixture(scope="module")
def expected():
    return recipe.expected("align")


def example_image(seed, size):
    phases = recipe.generator(seed).uniform(0, 2 * np.pi, (3, 3, 1, 1))
    y, x = np.indices(size)
    waves = [
        42 * np.sin(0.11 * x + a) + 42 * np.cos(0.07 * y + b) + 42 * np.sin(0.05 * (x + y) + c)
        for a, b, c in phases
    ]
    return np.floor(np.clip(127.5 + np.stack(waves, axis=-1), 0, 255)).astype(np.uint8)


@pytest.mark.parametrize("name", PICTURES)
def test_aligns_as_the_published_code(expected, name):
    matrix = alignment.umeyama(expected[f"{name}_src5"], expected["dst5"])
    np.testing.assert_allclose(matrix, expected[f"{name}_matrix"], atol=1e-10)
    frame = alignment.warp(example_image(*PICTURES[name]), matrix)
    np.testing.assert_allclose(frame[::4, ::4], expected[f"{name}_warp_float_s4"], atol=1e-4)
    pixels, golden = frame.astype(np.uint8), expected[f"{name}_warp_u8"]
    pixels = pixels if name == "rotated" else pixels[::3, ::3]
    # Values that are whole numbers but for rounding are truncated either way.
    assert np.abs(pixels.astype(int) - golden).max() <= 1


def test_undoes_a_similarity_but_never_a_mirror():
    angle, points = 0.3, alignment.CANONICAL_FACE
    turn = 1.7 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = alignment.umeyama(points @ turn.T + [20, -5])
    np.testing.assert_allclose(matrix[:2, :2] @ turn, np.eye(2), atol=1e-12)
    mirrored = alignment.umeyama(points * [-1, 1])
    assert np.linalg.det(mirrored[:2, :2]) > 0


def test_a_frame_is_cut_out_where_nothing_turns():
    image = example_image(1, (140, 110))
    matrix = np.array([[1.0, 0, -7], [0, 1, -4], [0, 0, 1]])
    np.testing.assert_array_equal(alignment.warp(image, matrix), image[4:132, 7:103])
    away = np.array([[1.0, 0, 500], [0, 1, 0], [0, 0, 1]])
    assert not alignment.warp(image, away).any()


def test_videos_are_aligned_by_means_of_seven_frames():
    rng = np.random.default_rng(0)
    points = alignment.CANONICAL_FACE + rng.normal(size=(10, 5, 2))
    matrices = alignment.smoothed_umeyama(points)
    assert matrices.shape == (10, 3, 3)
    np.testing.assert_array_equal(matrices[2], alignment.umeyama(points[2:9].mean(axis=0)))
    np.testing.assert_array_equal(matrices[4:], np.repeat(matrices[3:4], 6, axis=0))
    assert alignment.smoothed_umeyama(points[:3]).shape == (3, 3, 3)


def test_refuses_landmarks_that_are_no_face():
    with pytest.raises(ValueError, match=r"shape \(4, 2\) cannot be aligned to \(5, 2\)"):
        alignment.umeyama(np.zeros((4, 2)))
    for point in (0.0, np.nan):
        with pytest.raises(ValueError, match="not finite, or all equal"):
            alignment.umeyama(np.full((5, 2), point))


FACE = np.array([[40, 50], [80, 46], [62, 70], [46, 94], [80, 90]], float)


def test_the_stable_points_lie_around_eyes_and_below_the_nose():
    base, outer, inner, *right = alignment.stable_points(FACE)
    np.testing.assert_allclose((outer + inner) / 2, FACE[0])
    np.testing.assert_allclose(np.mean(right, axis=0), FACE[1])
    assert outer[0] < 40 < inner[0] < right[0][0] < 80 < right[1][0]
    assert 70 < base[1] < 92
    turned = FACE @ np.array([[0.8, 0.6], [-0.6, 0.8]]) * 3 + 7
    expected = alignment.stable_points(FACE) @ np.array([[0.8, 0.6], [-0.6, 0.8]]) * 3 + 7
    np.testing.assert_allclose(alignment.stable_points(turned), expected)
    assert alignment.stable_points(np.stack([FACE] * 3)).shape == (3, 5, 2)


@pytest.mark.parametrize("scale", [0.8, 1, 2.3, 5])
def test_faces_of_any_size_are_aligned_equally(scale):
    """The surroundings of a landmark in the image are those in the frame."""
    turn = scale * np.array([[0.96, 0.28], [-0.28, 0.96]])
    landmarks = FACE @ turn + [60 * scale, 30 * scale]
    size = round(260 * scale)
    y, x = (np.indices((size, size)) + 0.5).astype(np.float32)
    distance = [np.hypot(x - px, y - py) / scale for px, py in landmarks]
    image = np.stack([255 * np.exp(-((d / 8) ** 2)) for d in distance[:3]], axis=-1)
    matrix = alignment.align_matrix(landmarks)
    frame = alignment.warp_crop(np.rint(image).astype(np.uint8), matrix)
    assert frame.shape == (128, 96, 3) and frame.dtype == np.uint8
    expected = alignment.transform_points(landmarks, matrix)
    weights = frame.astype(float) ** 2
    rows, columns = np.indices((128, 96)) + 0.5
    for i in range(3):
        total = weights[..., i].sum()
        x, y = ((weights[..., i] * axis).sum() / total for axis in (columns, rows))
        np.testing.assert_allclose([x, y], expected[i], atol=0.1)
    points = alignment.transform_points(alignment.stable_points(landmarks), matrix) - 0.5
    assert np.abs(points - alignment.CANONICAL_FACE).max() < 6


def test_frames_may_reach_beyond_the_image():
    image = np.full((80, 70, 3), 200, np.uint8)
    frame = alignment.warp_crop(image, alignment.align_matrix(FACE))
    assert (frame[50, 40] == 200).all() and (frame[-1] == 0).all()
    far = alignment.warp_crop(image, alignment.align_matrix(FACE + 900))
    assert not far.any()


def test_a_video_is_cut_by_smoothed_places():
    landmarks = FACE + np.random.default_rng(0).normal(0, 0.5, (20, 5, 2))
    matrices = alignment.align_matrices(landmarks)
    assert matrices.shape == (20, 3, 3)
    mean = alignment.stable_points(landmarks[3:10]).mean(axis=0) - 0.5
    np.testing.assert_allclose(matrices[3], alignment.umeyama(mean))
    inside = alignment.transform_points(landmarks, matrices)
    np.testing.assert_allclose(inside[5], alignment.transform_points(landmarks[5], matrices[5]))
