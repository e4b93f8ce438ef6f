"""Structural similarity."""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from lipsync_jax.evaluation.metrics.psnr import check_pair


class Window(NamedTuple):
    """A window over which means and variances are computed.

    Attributes:
        weights: along one axis; the window is their outer product.
        unbiased: whether variances are divided by n - 1.
    """

    weights: tuple[float, ...]
    unbiased: bool = False


def _gaussian(size: int, sigma: float) -> tuple[float, ...]:
    weights = np.exp(-np.square((np.arange(size) - size // 2) / sigma) / 2)
    return tuple((weights / weights.sum()).tolist())


WINDOWS: Mapping[str, Window] = {
    "gaussian11": Window(_gaussian(11, 1.5)),  # Wang et al. 2004, the default
    "uniform11": Window((1 / 11,) * 11),  # the evaluation tool of Vougioukas et al. 2020
    "uniform7": Window((1 / 7,) * 7, unbiased=True),  # scikit-image's default; Chen et al. 2018
}


@functools.partial(jax.jit, static_argnames="window")
def ssim(
    a: Num[Array, "*batch height width channels"],
    b: Num[Array, "*batch height width channels"],
    peak: float = 1.0,
    window: str = "gaussian11",
) -> Float[Array, "*batch"]:
    """Computes structural similarity (Wang et al. 2004, eq. 13), K1 0.01, K2 0.03.

    SSIM = (2·µa·µb + C1)·(2·σab + C2) / ((µa² + µb² + C1)·(σa² + σb² + C2)), with C = (K·peak)²,
    over the windows that lie wholly in the image, then the mean over windows and channels. The
    paper's values are of luminance alone: pass `luminance.luminance(images)[..., None]`.

    Args:
        a: (..., height, width, channels), on a scale from 0 to `peak`.
        b: of equal shape and scale.
        peak: the greatest possible value: 1.0, or 255 for uint8.
        window: one of WINDOWS; published values differ by window, so name the window with the
            result.

    Returns:
        float32 (...), at most 1.

    Raises:
        ValueError: the shapes differ, images are smaller than the window, or there is no such
            window.
    """
    check_pair(a, b)
    if window not in WINDOWS:
        raise ValueError(f"SSIM has no window {window!r}; choose from {', '.join(WINDOWS)}")
    weights, unbiased = WINDOWS[window]
    size = len(weights)
    if min(a.shape[-3:-1]) < size:
        raise ValueError(f"images of {a.shape[-3]}x{a.shape[-2]} are smaller than SSIM's window")
    # Variances are invariant to the offset; around 0 float32 has the least rounding error.
    a, b = (jnp.asarray(x, jnp.float32) / peak - 0.5 for x in (a, b))
    mean_a, mean_b = _means(a, weights), _means(b, weights)
    scale = size**2 / (size**2 - 1) if unbiased else 1.0
    variances = scale * (_means(a * a + b * b, weights) - mean_a**2 - mean_b**2)
    covariance = scale * (_means(a * b, weights) - mean_a * mean_b)
    mean_a, mean_b, c1, c2 = mean_a + 0.5, mean_b + 0.5, 0.01**2, 0.03**2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity /= (mean_a**2 + mean_b**2 + c1) * (variances + c2)
    return jnp.mean(similarity, axis=(-3, -2, -1))


def _means(x: jax.Array, weights: tuple[float, ...]) -> jax.Array:
    """Computes weighted means over every window inside the image, rows then columns."""
    # As products with band matrices: they compile and run faster than sums of shifted images.
    rows, columns = (_band(length, weights) for length in x.shape[-3:-1])
    x = jnp.einsum("or,...rcd->...ocd", rows, x, precision="highest")
    return jnp.einsum("oc,...rcd->...rod", columns, x, precision="highest")


def _band(length: int, weights: tuple[float, ...]) -> np.ndarray:
    count = length - len(weights) + 1
    return sum(  # type: ignore[return-value]  # there is at least one weight
        w * np.eye(count, length, i, np.float32) for i, w in enumerate(weights)
    )
