"""Edge detection for CPBD: Canny's, and thinned vertical Sobel edges with their widths."""

import numpy as np
import scipy.ndimage

_MAX_WIDTH = 100  # pixels; no edge is followed further


def canny(grey: np.ndarray, sigma: float = 1.0, low: float = 0.1, high: float = 0.2) -> np.ndarray:
    """Detects edges (Canny 1986), with gradients interpolated between pixels.

    Args:
        grey: float (height, width), from 0 to 255.
        sigma: of the Gaussian smoothing, pixels; pixels beyond the border have no weight.
        low: least gradient (of the unnormalised Sobel operator) of an edge.
        high: least gradient at one pixel of each edge at least.

    Returns:
        bool (height, width).
    """
    options = {"sigma": sigma, "mode": "constant", "truncate": 4.0}
    cover = scipy.ndimage.gaussian_filter(np.ones(grey.shape), **options)
    smooth = scipy.ndimage.gaussian_filter(grey, **options) / (cover + np.finfo(float).eps)
    down, across = (scipy.ndimage.sobel(smooth, axis) for axis in (0, 1))
    strength = np.hypot(down, across)
    thin = _is_ridge(strength, down, across) & (strength >= low) & (strength > 0)
    labels, count = scipy.ndimage.label(thin, np.ones((3, 3)))
    strong = np.zeros(count + 1, bool)
    strong[labels[thin & (strength >= high)]] = True
    strong[0] = False
    return strong[labels]


def _is_ridge(strength: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Returns where the gradient is a maximum along its own direction, bool (height, width)."""
    ridge = np.zeros(strength.shape, bool)
    inner = (slice(1, -1), slice(1, -1))
    height, width = strength.shape
    if min(height, width) < 3:
        return ridge

    def beside(rows: int, columns: int) -> np.ndarray:
        return strength[1 + rows : height - 1 + rows, 1 + columns : width - 1 + columns]

    middle, dy, dx = strength[inner], down[inner], across[inner]
    steep, falling = np.abs(dy) > np.abs(dx), dy * dx >= 0
    # A gradient that is exactly diagonal belongs to either side; here as Canny's published code.
    steep = np.where(falling, steep, np.abs(dy) >= np.abs(dx))
    short, long = np.minimum(np.abs(dy), np.abs(dx)), np.maximum(np.abs(dy), np.abs(dx))
    weight = np.divide(short, long, out=np.zeros_like(short), where=long > 0)
    keep = np.ones(middle.shape, bool)
    for sign in (1, -1):
        # Along a falling gradient (down and right) rows and columns grow together.
        straight = np.where(
            steep,
            np.where(falling, beside(sign, 0), beside(-sign, 0)),
            beside(0, sign),
        )
        diagonal = np.where(falling, beside(sign, sign), beside(-sign, sign))
        keep &= diagonal * weight + straight * (1 - weight) <= middle
    ridge[inner] = keep
    return ridge


def vertical_edges(grey: np.ndarray) -> np.ndarray:
    """Detects thinned edges of the horizontal Sobel operator, above the RMS response.

    Args:
        grey: float (height, width).

    Returns:
        bool (height, width).
    """
    kernel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]]) / 8
    response = np.square(scipy.ndimage.convolve(grey, kernel))
    # The published MATLAB code has this threshold, 2 · sqrt(mean), on squared responses.
    response[response <= 2 * np.sqrt(response.mean())] = 0
    padded = np.pad(response, 1)
    inner = padded[1:-1, 1:-1]
    beside = (inner > padded[1:-1, :-2]) & (inner > padded[1:-1, 2:])
    above = (inner > padded[:-2, 1:-1]) & (inner > padded[2:, 1:-1])
    return beside | above


def widths(grey: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Computes the widths of vertical edges (Marziliano et al. 2004).

    The width is the number of pixels between the extrema on both sides.

    Args:
        grey: float (height, width).
        edges: bool (height, width), see `vertical_edges`.

    Returns:
        int (height, width); 0 where there is no edge within 22.5 degrees of vertical.
    """
    found = np.zeros(grey.shape, int)
    height, width = grey.shape
    if min(height, width) < 3:
        return found
    down, across = np.gradient(grey)
    # The published code uses angle 0 where the horizontal gradient is 0.
    angle = np.where(across == 0, 0, np.degrees(np.arctan2(down, across)))
    quarter = 45 * np.rint(angle / 45)
    inside = np.zeros(grey.shape, bool)
    inside[1:-1, 1:-1] = edges[1:-1, 1:-1]
    step = np.diff(grey, axis=1)
    for mask, rising in ((quarter == 0, True), (np.abs(quarter) == 180, False)):
        grows = step > 0 if rising else step < 0
        right, left = _run_lengths(grows), _run_lengths(grows[:, ::-1])[:, ::-1]
        # right[:, j] counts monotonic steps to the right of pixel j, left[:, j] to the left.
        right = np.concatenate([right, np.zeros((height, 1), int)], axis=1)
        left = np.concatenate([np.zeros((height, 1), int), left], axis=1)
        both = np.zeros(grey.shape, int)
        both[:, 1:-1] = (
            2 + np.minimum(left[:, :-2], _MAX_WIDTH - 1) + np.minimum(right[:, 2:], _MAX_WIDTH - 1)
        )
        found[inside & mask] = both[inside & mask]
    return found


def _run_lengths(grows: np.ndarray) -> np.ndarray:
    """Counts consecutive True values from each place on; (height, n) bool -> int."""
    count = np.zeros(grows.shape, int)
    running = np.zeros(len(grows), int)
    for j in range(grows.shape[1] - 1, -1, -1):
        running = np.where(grows[:, j], running + 1, 0)
        count[:, j] = running
    return count
