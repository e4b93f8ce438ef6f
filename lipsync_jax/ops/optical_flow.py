"""Optical flow of two frames, without weights and differentiable in the frames.

Flow is (..., 2), to the right and down, in pixels: the point (x, y) of the first frame is at
(x + flow_x, y + flow_y) of the second. Frames are luminance in [0, 1]. Separable filters are
products with banded matrices, which include the rules at the borders: fast forward and backward at
the sizes of lip crops.
"""

import functools
import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lipsync_jax.ops.luminance import RGB_WEIGHTS

Border = Literal["edge", "reflect"]

FLOW_SCALE = 20.0  # pixels per unit of the networks' flow (Dosovitskiy et al. 2015)
POOL = 4  # pixels a side over which the networks' flow is averaged

BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16
CENTRAL = np.array([-0.5, 0, 0.5])
# Weights of Farnebäck's equations at border pixels, from outside to inside (OpenCV).
BORDER_WEIGHTS = (0.14, 0.14, 0.4472, 0.4472, 0.4472)


def clip_flow(
    frames: Float[Array, "n time height width 3"], method: str = "farneback"
) -> Float[Array, "n time-1 height//4 width//4 2"]:
    """Computes the flow of successive frames for networks (Chen et al. 2018, section 3.2).

    Args:
        frames: (n, time, height, width, 3), RGB in [-1, 1]; sides multiples of 4.
        method: a key of METHODS.

    Returns:
        (n, time - 1, height / 4, width / 4, 2): means over 4 x 4 pixels, in units of 20 pixels.

    Raises:
        ValueError: there is no such method.
    """
    if method not in METHODS:
        raise ValueError(f"there is no optical flow {method!r}; choose one of {', '.join(METHODS)}")
    grey = (frames @ jnp.asarray(RGB_WEIGHTS, frames.dtype) + 1) / 2
    n, time, height, width = grey.shape
    first, second = (x.reshape(-1, height, width) for x in (grey[:, :-1], grey[:, 1:]))
    flow = METHODS[method](first, second)
    blocks = flow.reshape(n, time - 1, height // POOL, POOL, width // POOL, POOL, 2)
    return blocks.mean(axis=(3, 5)) / FLOW_SCALE


def endpoint_error(flow: Float[Array, "*n 2"], target: Float[Array, "*n 2"]) -> Float[Array, ""]:
    """Computes the mean length of the difference of two flows (..., 2)."""
    return jnp.mean(jnp.sqrt(jnp.maximum(jnp.sum((flow - target) ** 2, axis=-1), 1e-12)))


def farneback(
    first: Float[Array, "n height width"],
    second: Float[Array, "n height width"],
    window: int = 9,
    levels: int = 3,
    iterations: int = 3,
    poly_n: int = 5,
    poly_sigma: float = 1.2,
) -> Float[Array, "n height width 2"]:
    """Computes flow by polynomial expansion (Farnebäck 2003), equal to OpenCV's up to rounding.

    The default of `window` is smaller than the 15 of Chen et al.: more exact on small images.

    Args:
        first: (n, height, width), luminance in [0, 1].
        second: the frame after it.
        window: pixels a side over which motion is taken as constant, odd.
        levels: halvings of the images, as long as no side falls below 32 pixels.
        iterations: at every size.
        poly_n: pixels on either side of the fit of a polynomial (OpenCV's poly_n).
        poly_sigma: deviation of the weights of the fit, pixels.

    Returns:
        (n, height, width, 2).
    """
    size = first.shape[1:]
    while levels and min(size) / 2**levels < 32:
        levels -= 1
    flow: jax.Array | None = None
    for level in range(levels, -1, -1):
        smaller = (round(size[0] / 2**level), round(size[1] / 2**level))
        flow = (
            jnp.zeros((len(first), *smaller, 2))
            if flow is None
            else 2 * resize_bilinear(flow, smaller)
        )
        deviation = (2**level - 1) / 2
        # OpenCV uses the binomial filter for a deviation of 0.
        radius = max(1, round(5 * deviation) // 2)
        taps = _gaussian(deviation, radius) if level else np.array([1, 2, 1]) / 4
        pair = (
            resize_bilinear(_filter(255 * x, taps, taps, "reflect"), smaller)
            for x in (first, second)
        )
        one, other = (_polynomial_expansion(x, poly_n, poly_sigma) for x in pair)
        for _ in range(iterations):
            flow = _update_flow(one, other, flow, window)
    assert flow is not None  # level 0 is always visited
    return flow


def _polynomial_expansion(x: jax.Array, poly_n: int, poly_sigma: float) -> jax.Array:
    """Fits coefficients of x, y, x^2, y^2, xy around each pixel: (n, h, w, 5)."""
    steps = np.arange(-poly_n, poly_n + 1)
    weights = _gaussian(poly_sigma, poly_n)
    second, fourth = (float(weights @ steps**k) for k in (2, 4))
    moments = [weights * steps**k for k in range(3)]

    def moment(of_x: int, of_y: int) -> jax.Array:
        return _filter(x, moments[of_y], moments[of_x], "edge")

    mean, spread = moment(0, 0), fourth - second**2
    return jnp.stack(
        [
            moment(1, 0) / second,
            moment(0, 1) / second,
            (moment(2, 0) - second * mean) / spread,
            (moment(0, 2) - second * mean) / spread,
            moment(1, 1) / second**2,
        ],
        axis=-1,
    )


def _update_flow(one: jax.Array, other: jax.Array, flow: jax.Array, window: int) -> jax.Array:
    """Updates the displacement from one expansion to the other (eq. 7.22-7.26)."""
    height, width = flow.shape[1:3]
    x, y = _warped_positions(flow)
    inside = (x >= 0) & (x < width - 1) & (y >= 0) & (y < height - 1)
    warped = sample_bilinear(other, x, y)
    # Beyond the frame only the first expansion is defined.
    linear = jnp.where(inside[..., None], warped[..., :2], 0)
    square = jnp.where(inside[..., None], warped[..., 2:], one[..., 2:])
    xx, yy, xy = jnp.moveaxis((one[..., 2:] + square) / 2, -1, 0)
    xy = xy / 2
    u, v = jnp.moveaxis(flow, -1, 0)
    right, down = jnp.moveaxis((one[..., :2] - linear) / 2, -1, 0)
    right, down = right + xx * u + xy * v, down + xy * u + yy * v
    weights = (_border_weights(height)[:, None] * _border_weights(width)) ** 2
    terms = [xx**2 + xy**2, (xx + yy) * xy, yy**2 + xy**2]
    terms += [xx * right + xy * down, xy * right + yy * down]
    box = np.full(window, 1 / window)
    a, b, c, e, f = (_filter(weights * term, box, box, "edge") for term in terms)
    return _solve(a, b, c, e, f, 1e-3)


def _border_weights(size: int) -> np.ndarray:
    weights = np.ones(size)
    ends = np.array(BORDER_WEIGHTS[:size])
    weights[: len(ends)] *= ends
    weights[size - len(ends) :] *= ends[::-1]
    return weights


def horn_schunck(
    first: Float[Array, "n height width"],
    second: Float[Array, "n height width"],
    alpha: float = 0.1,
    levels: int = 3,
    warps: int = 3,
    iterations: int = 20,
) -> Float[Array, "n height width 2"]:
    """Computes smooth flow (Horn and Schunck 1981), from coarse to fine.

    The gradients by the frames are the smoothest of the three methods.

    Args:
        first: (n, height, width), luminance in [0, 1].
        second: the frame after it.
        alpha: weight of smoothness; below about 0.05 it may diverge.
        levels: number of image sizes, each half of the one before.
        warps: warps of the second frame at every size.
        iterations: of Jacobi's method after each warp.

    Returns:
        (n, height, width, 2).
    """
    average = np.array([1, 2, 1]) / 4

    def refine(one: jax.Array, other: jax.Array, start: jax.Array) -> jax.Array:
        dx, dy, dt = _derivatives(one, other, start)

        def step(_: jax.Array, flow: jax.Array) -> jax.Array:
            mean = _filter(flow, average, average, "edge")
            change = mean - start
            residual = dx * change[..., 0] + dy * change[..., 1] + dt
            scaled_residual = residual / (alpha**2 + dx**2 + dy**2)
            return mean - scaled_residual[..., None] * jnp.stack([dx, dy], axis=-1)

        return jax.lax.fori_loop(0, iterations, step, start)

    return _coarse_to_fine(first, second, levels, warps, refine)


def lucas_kanade(
    first: Float[Array, "n height width"],
    second: Float[Array, "n height width"],
    sigma: float = 2.5,
    levels: int = 3,
    iterations: int = 3,
) -> Float[Array, "n height width 2"]:
    """Computes flow that is constant in a window (Lucas and Kanade 1981), from coarse to fine.

    Args:
        first: (n, height, width), luminance in [0, 1].
        second: the frame after it.
        sigma: deviation of the window, pixels.
        levels: number of image sizes, each half of the one before.
        iterations: at every size.

    Returns:
        (n, height, width, 2).
    """
    window = _gaussian(sigma, math.ceil(3 * sigma))

    def refine(one: jax.Array, other: jax.Array, start: jax.Array) -> jax.Array:
        dx, dy, dt = _derivatives(one, other, start)
        terms = (dx * dx, dx * dy, dy * dy, -dx * dt, -dy * dt)
        a, b, c, e, f = (_filter(term, window, window, "edge") for term in terms)
        return start + _solve(a, b, c, e, f, 1e-6, diagonal=1e-4)

    return _coarse_to_fine(first, second, levels, iterations, refine)


METHODS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "farneback": farneback,
    "horn_schunck": horn_schunck,
    "lucas_kanade": lucas_kanade,
}


def _coarse_to_fine(
    first: jax.Array,
    second: jax.Array,
    levels: int,
    repeats: int,
    refine: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
) -> jax.Array:
    pyramid = [(first, second)]
    for _ in range(levels - 1):
        height, width = pyramid[-1][0].shape[1:]
        half = ((height + 1) // 2, (width + 1) // 2)
        one, other = (_filter(x, BINOMIAL, BINOMIAL, "edge") for x in pyramid[-1])
        pyramid.append((resize_bilinear(one, half), resize_bilinear(other, half)))
    flow = jnp.zeros((*pyramid[-1][0].shape, 2))
    for one, other in pyramid[::-1]:
        if flow.shape[1:3] != one.shape[1:]:
            flow = 2 * resize_bilinear(flow, (one.shape[1], one.shape[2]))
        for _ in range(repeats):
            flow = refine(one, other, flow)
    return flow


def _derivatives(one: jax.Array, other: jax.Array, flow: jax.Array) -> tuple[jax.Array, ...]:
    """Computes derivatives by x, y, time, the second frame warped by the flow; (n, h, w) each."""
    warped = sample_bilinear(other[..., None], *_warped_positions(flow))[..., 0]
    mean, no_filter = (one + warped) / 2, np.ones(1)
    dx, dy = _filter(mean, no_filter, CENTRAL, "edge"), _filter(mean, CENTRAL, no_filter, "edge")
    return dx, dy, warped - one


def _solve(
    a: jax.Array,
    b: jax.Array,
    c: jax.Array,
    e: jax.Array,
    f: jax.Array,
    epsilon: float,
    diagonal: float = 0.0,
) -> jax.Array:
    """Solves a x + b y = e, b x + c y = f for (x, y) at every pixel, regularised."""
    a, c = a + diagonal, c + diagonal
    inverse = 1 / (a * c - b * b + epsilon)
    return jnp.stack([(c * e - b * f) * inverse, (a * f - b * e) * inverse], axis=-1)


def _warped_positions(flow: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the positions of the pixels in the second frame."""
    height, width = flow.shape[1:3]
    return flow[..., 0] + jnp.arange(width), flow[..., 1] + jnp.arange(height)[:, None]


def resize_bilinear(
    x: Float[Array, "n height width ..."], size: tuple[int, int]
) -> Float[Array, "n new_height new_width ..."]:
    """Resizes (n, h, w) or (n, h, w, c) bilinearly, pixel areas aligned, without smoothing."""
    if x.shape[1:3] == tuple(size):
        return x
    rows, columns = (_resize_matrix(*pair) for pair in zip(x.shape[1:3], size, strict=True))
    return _along_both(x, rows, columns)


def sample_bilinear(maps: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """Samples maps (n, h, w, c) bilinearly at positions (n, h, w), clipped to the borders."""
    n, height, width, channels = maps.shape
    x, y = jnp.clip(x, 0, width - 1), jnp.clip(y, 0, height - 1)
    left = jnp.minimum(jnp.floor(x), width - 2).astype(int)
    top = jnp.minimum(jnp.floor(y), height - 2).astype(int)
    across, along = (x - left)[..., None], (y - top)[..., None]
    flat = maps.reshape(n, -1, channels)

    def at(row: jax.Array, column: jax.Array) -> jax.Array:
        index = (row * width + column).reshape(n, -1, 1)
        return jnp.take_along_axis(flat, index, axis=1).reshape(*x.shape, channels)

    above = (1 - across) * at(top, left) + across * at(top, left + 1)
    below = (1 - across) * at(top + 1, left) + across * at(top + 1, left + 1)
    return (1 - along) * above + along * below


def _gaussian(sigma: float, radius: int) -> np.ndarray:
    taps = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    return taps / taps.sum()


def _filter(x: jax.Array, along_y: np.ndarray, along_x: np.ndarray, border: Border) -> jax.Array:
    """Correlates images (n, h, w) or (n, h, w, c) with the outer product of two sets of taps."""
    rows = _filter_matrix(x.shape[1], tuple(along_y), border)
    columns = _filter_matrix(x.shape[2], tuple(along_x), border)
    return _along_both(x, rows, columns)


def _along_both(x: jax.Array, rows: np.ndarray, columns: np.ndarray) -> jax.Array:
    down, across = (jnp.asarray(matrix, x.dtype) for matrix in (rows, columns))
    return jnp.einsum("yh,nhw...,xw->nyx...", down, x, across, precision="highest")


@functools.lru_cache(maxsize=64)
def _filter_matrix(size: int, taps: tuple[float, ...], border: Border) -> np.ndarray:
    """Returns a correlation as (size, size); pixels beyond the ends mirror or repeat the border."""
    matrix, radius = np.zeros((size, size)), len(taps) // 2
    sources = np.pad(np.arange(size), radius, mode=border)
    for i in range(size):
        np.add.at(matrix[i], sources[i : i + len(taps)], taps)
    return matrix


@functools.lru_cache(maxsize=64)
def _resize_matrix(size: int, new: int) -> np.ndarray:
    position = np.clip((np.arange(new) + 0.5) * size / new - 0.5, 0, size - 1)
    left = np.minimum(np.floor(position).astype(int), size - 2)
    matrix = np.zeros((new, size))
    matrix[np.arange(new), left] = 1 - (position - left)
    matrix[np.arange(new), left + 1] = position - left
    return matrix
