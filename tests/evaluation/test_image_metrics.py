"""PSNR, SSIM, CPBD, FDBM against scikit-image, sewar and the cpbd package (golden values)."""

import json
from pathlib import Path

import numpy as np
import pytest

from lipsync_jax.evaluation.metrics import edges
from lipsync_jax.evaluation.metrics.cpbd import cpbd
from lipsync_jax.evaluation.metrics.fdbm import fdbm
from lipsync_jax.evaluation.metrics.luminance import luminance
from lipsync_jax.evaluation.metrics.psnr import psnr
from lipsync_jax.evaluation.metrics.ssim import ssim

FOLDER = Path(__file__).parents[1] / "golden" / "metrics"
GOLDEN = json.loads((FOLDER / "golden.json").read_text())
PAIRS = {
    name: values for name, values in GOLDEN["full_reference"].items() if "ssim_gauss_wang" in values
}


@pytest.fixture(scope="module")
def images():
    with np.load(FOLDER / "images.npz") as stored:
        return dict(stored)


def _pair(images, name):
    return (images[part][..., None] for part in name.split("|"))


@pytest.mark.parametrize("name", PAIRS)
def test_psnr_and_ssim_of_grey_pictures(images, name):
    a, b = _pair(images, name)
    assert psnr(a, b, 255) == pytest.approx(PAIRS[name]["psnr"], abs=1e-4)
    for window, key in (
        ("gaussian11", "ssim_gauss_wang"),
        ("uniform7", "ssim_uniform7_skimage_default"),
        ("uniform11", "ssim_sewar_default"),
    ):
        assert ssim(a, b, 255, window) == pytest.approx(PAIRS[name][key], abs=1e-5), window


def test_psnr_and_ssim_of_colour_pictures(images):
    a, b = images["astronaut_rgb"], images["astronaut_rgb_s2"]
    golden = GOLDEN["full_reference"]["astronaut_rgb|sigma2"]
    assert psnr(a, b, 255) == pytest.approx(golden["psnr"], abs=1e-4)
    assert ssim(a, b, 255) == pytest.approx(golden["ssim_gauss_wang_channel_mean"], abs=1e-5)
    both = ssim(np.stack([a, a]) / 255, np.stack([a, b]) / 255)
    np.testing.assert_allclose(both, [1, golden["ssim_gauss_wang_channel_mean"]], atol=1e-5)


def test_psnr_does_not_wrap_around():
    with np.load(FOLDER / "wrapped.npz") as stored:
        a, b = stored["a"][..., None], stored["b"][..., None]
        assert psnr(a, b, 255) == pytest.approx(float(stored["psnr"]), abs=1e-4)
    assert np.isinf(psnr(a, a, 255))


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_pictures_of_other_shapes_are_refused(metric):
    with pytest.raises(ValueError, match=r"\(16, 16, 3\) and \(16, 17, 3\) can't be compared"):
        metric(np.zeros((16, 16, 3)), np.zeros((16, 17, 3)))


def test_ssim_says_which_windows_there_are():
    with pytest.raises(ValueError, match="'gauss'; choose from gaussian11, uniform11, uniform7"):
        ssim(np.zeros((16, 16, 3)), np.zeros((16, 16, 3)), window="gauss")
    with pytest.raises(ValueError, match="8x8 are smaller than SSIM's window"):
        ssim(np.zeros((8, 8, 3)), np.zeros((8, 8, 3)))


@pytest.mark.parametrize("name", GOLDEN["no_reference"])
def test_sharpness(images, name):
    golden = GOLDEN["no_reference"][name]
    assert cpbd(images[name]) == pytest.approx(golden["cpbd"], abs=1e-12)
    assert fdbm(images[name]) == pytest.approx(golden["fdbm"], abs=1e-12)


@pytest.mark.parametrize(
    "name", ["astronaut", "grid_bbaf2n_f20", "grid_bbaf2n_f20_face128", "zoneplate"]
)
def test_edges_of_cpbd(images, name):
    grey = images[name].astype(float)
    with np.load(FOLDER / "cpbd_intermediate.npz") as stored:
        canny, sobel, widths = (stored[f"{name}_{part}"] for part in ("canny", "sobel", "widths"))
    canny, sobel = (
        np.unpackbits(x)[: grey.size].reshape(grey.shape).astype(bool) for x in (canny, sobel)
    )
    np.testing.assert_array_equal(edges.canny(grey), canny)
    np.testing.assert_array_equal(edges.vertical_edges(grey), sobel)
    np.testing.assert_array_equal(edges.widths(grey, sobel), widths)


def test_sharpness_of_many_pictures(images):
    batch = np.stack([images[f"steps_s{sigma}"] for sigma in (0, 1, 4)])
    np.testing.assert_array_equal(fdbm(batch), [float(fdbm(image)) for image in batch])
    assert cpbd(batch[None]).shape == (1, 3)
    for metric in (fdbm, cpbd):
        with pytest.raises(ValueError, match="takes grey images"):
            metric(np.zeros(5))


def test_luminance_knows_the_order_of_channels():
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 2] = 100
    np.testing.assert_allclose(luminance(red), 29.9, rtol=1e-6)
    np.testing.assert_allclose(luminance(red[..., ::-1], "rgb"), 29.9, rtol=1e-6)
    with pytest.raises(ValueError, match="'bgr' or 'rgb'"):
        luminance(red, "rgba")
