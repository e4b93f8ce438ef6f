import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax.data.synthetic_flow import sample_flow_pairs
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.ops import optical_flow
from lipsync_jax.ops.luminance import RGB_WEIGHTS
from tests.golden.glance import recipe

METHODS = pytest.mark.parametrize("method", optical_flow.METHODS)
# Two sizes, each method's loop run twice: all of its parts, and half as much to compile.
SHORT = {
    "farneback": {"levels": 1, "iterations": 2},
    "horn_schunck": {"levels": 2, "warps": 2, "iterations": 2},
    "lucas_kanade": {"levels": 2, "iterations": 2},
}


def short(method):
    """A method with as few repetitions as use all of its parts."""
    return functools.partial(optical_flow.METHODS[method], **SHORT[method])


def lengths(x):
    return np.linalg.norm(x, axis=-1)


@pytest.fixture(scope="module")
def golden():
    return recipe.expected("farneback")


@pytest.fixture(scope="module")
def synthetic():
    """Grey pairs and their flow."""
    examples = sample_flow_pairs(7, 24)
    return (*(x @ np.float32(RGB_WEIGHTS) for x in examples[:2]), examples.flow)


@pytest.fixture(scope="module")
def estimate():
    """Method -> itself, compiled."""
    return {name: jit(method) for name, method in optical_flow.METHODS.items()}


def test_farneback_is_opencvs(golden):
    first, second = (golden[name] / np.float32(255) for name in ("first", "second"))
    found = jit(functools.partial(optical_flow.farneback, window=15))(first, second)
    # Stored in half precision.
    np.testing.assert_allclose(found, golden["opencv"].astype(np.float32), atol=3e-3)
    error = optical_flow.endpoint_error(found, golden["true"].astype(np.float32))
    np.testing.assert_allclose(error, lengths(golden["opencv"] - golden["true"]).mean(), atol=1e-3)


@pytest.mark.parametrize(
    ("shape", "window", "levels", "reach", "sigma"),
    [((80, 96), 9, 2, 5, 1.2), ((67, 130), 15, 1, 7, 1.5), ((40, 48), 5, 3, 5, 1.1)],
)
def test_farneback_is_opencvs_with_other_settings(shape, window, levels, reach, sigma):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (12, 14)).astype(np.uint8)
    first = cv2.resize(coarse, (140, 120), interpolation=cv2.INTER_CUBIC)
    motion = np.float32([[0.99, 0.02, 1.3], [-0.01, 1.01, -0.6]])
    second = cv2.warpAffine(first, motion, (140, 120))[: shape[0], : shape[1]].copy()
    first = first[: shape[0], : shape[1]].copy()
    expected = cv2.calcOpticalFlowFarneback(
        first, second, None, 0.5, levels, window, 2, reach, sigma, 0
    )
    run = functools.partial(
        optical_flow.farneback,
        window=window,
        levels=levels,
        iterations=2,
        poly_n=reach,
        poly_sigma=sigma,
    )
    found = jit(run, optimize=False)(first[None] / np.float32(255), second[None] / np.float32(255))
    np.testing.assert_allclose(found[0], expected, atol=2e-3)


# Measured 0.52, 0.97 and 1.12; not moving at all is 1.60.
@pytest.mark.parametrize(
    ("method", "error"), [("farneback", 0.6), ("horn_schunck", 1.05), ("lucas_kanade", 1.2)]
)
def test_endpoint_errors_on_synthetic_pairs(method, error, estimate, synthetic):
    first, second, true = synthetic
    assert lengths(true).mean() > 1.3
    assert optical_flow.endpoint_error(estimate[method](first, second), true) < error


@METHODS
def test_finds_a_shift(method, estimate):
    y, x = np.mgrid[:64, :64].astype(np.float32)

    def image(dx, dy):
        return 0.5 + 0.2 * (np.sin((x - dx) / 4) + np.cos((y - dy) / 5 + (x - dx) / 9))

    # As many pairs as other tests compile it for.
    pairs = [np.repeat(x[None], 24, axis=0) for x in (image(0, 0), image(0.8, -0.5))]
    found = estimate[method](*pairs)[0, 16:-16, 16:-16]
    np.testing.assert_allclose(found.mean(axis=(0, 1)), [0.8, -0.5], atol=0.12)


@METHODS
def test_nothing_moves_in_blank_frames(method):
    blank = jnp.full((1, 64, 64), 0.4)

    def amount(second):
        return jnp.abs(short(method)(blank, second)).mean()

    value, gradient = jit(jax.value_and_grad(amount), optimize=False)(blank)
    assert abs(value) < 1e-4 and np.isfinite(gradient).all()


@METHODS
def test_gradients_are_the_derivatives(method, synthetic):
    first, second = (x[:1, :32, :32] for x in synthetic[:2])
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((1, 32, 32, 2))
    directions = rng.standard_normal((2, 2, 1, 32, 32))

    def value(pair):
        return (weights * short(method)(*pair)).sum()

    with jax.enable_x64(True):
        pair = np.stack([first, second]).astype(np.float64)
        run = jit(jax.vmap(value), optimize=False)
        gradient = jit(jax.grad(value), optimize=False)(pair)
        assert np.isfinite(gradient).all()
        step = 1e-6
        both = np.concatenate([pair + sign * step * directions for sign in (1, -1)])
        values = np.asarray(run(both)).reshape(2, -1)
        found = (gradient * directions).sum(axis=(1, 2, 3, 4))
    np.testing.assert_allclose(found, (values[0] - values[1]) / (2 * step), rtol=1e-3)


def test_flow_of_frames_is_pooled_grey_and_in_units():
    rng = np.random.default_rng(0)
    frames = rng.uniform(-1, 1, (2, 3, 32, 32, 3)).astype(np.float32)
    frames = np.stack([[cv2.GaussianBlur(x, (0, 0), 3) for x in clip] for clip in frames]) * 4
    found = jit(optical_flow.clip_flow, optimize=False)(frames)
    assert found.shape == (2, 2, 8, 8, 2)
    grey = (np.stack([cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in frames[1]]) + 1) / 2
    single = jit(optical_flow.farneback, optimize=False)(grey[1:2], grey[2:])[0]
    expected = cv2.resize(np.asarray(single), (8, 8), interpolation=cv2.INTER_AREA) / 20
    np.testing.assert_allclose(found[1, 1], expected, atol=1e-4)


def test_refuses_an_unknown_method():
    with pytest.raises(ValueError, match="no optical flow 'raft'; choose one of farneback, "):
        optical_flow.clip_flow(jnp.zeros((1, 2, 64, 64, 3)), "raft")


def test_pairs_are_the_same_for_the_same_seed_and_place():
    few, more = sample_flow_pairs(3, 2), sample_flow_pairs(3, 3)
    for one, other in zip(few, more, strict=True):
        np.testing.assert_array_equal(one, other[:2])
    assert not np.array_equal(sample_flow_pairs(4, 1).first, few.first[:1])
    assert few.first.shape == (2, 64, 64, 3) and few.flow.shape == (2, 64, 64, 2)
    assert 0 <= few.first.min() and few.first.max() <= 1


def test_second_frames_of_pairs_are_the_first_warped_by_the_flow():
    examples = sample_flow_pairs(5, 8)
    y, x = np.mgrid[:64, :64].astype(np.float32)
    unwarped, warped = [], []
    for first, second, way in zip(*examples, strict=True):
        back = cv2.remap(second, x + way[..., 0], y + way[..., 1], cv2.INTER_LINEAR)
        inside = slice(8, -8)
        unwarped.append(np.median(np.abs(second - first)[inside, inside]))
        warped.append(np.median(np.abs(back - first)[inside, inside]))
    assert np.mean(warped) < 0.5 * np.mean(unwarped)


@pytest.mark.parametrize("size", [(12, 8), (24, 4)])
def test_images_are_enlarged_as_jax_enlarges_them(size):
    images = np.random.default_rng(0).normal(size=(2, 6, 4, 3)).astype(np.float32)
    expected = jax.image.resize(images, (2, *size, 3), "linear")
    np.testing.assert_allclose(optical_flow.resize_bilinear(images, size), expected, atol=1e-6)
