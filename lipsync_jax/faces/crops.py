"""Subpixel crops, and their inverse."""

import cv2
import numpy as np

from lipsync_jax.media.planar import Image, PlanarImage


def crop(
    image: Image, box: np.ndarray, size: int | tuple[int, int], cubic: bool = False
) -> np.ndarray:
    """Crops a box and resizes it, with subpixel accuracy.

    Bilinear, or `cubic`; a box more than twice as large as the crop is first averaged over whole
    pixels. Beyond the image's border the edge pixels repeat.

    Args:
        image: uint8 or float32 (height, width[, channels]), any channel order; or a frame in
            planes, of which the crop alone is converted, to uint8 RGB.
        box: (4,), not empty.
        size: rows and columns, or one number for both.
        cubic: bicubic interpolation, which is sharper; float values may overshoot their range.

    Returns:
        The image's type, (rows, columns[, channels]).

    Raises:
        ValueError: the box is empty or not finite.
    """
    if isinstance(image, PlanarImage):
        corners = np.asarray(box)
        return image.resampled(
            lambda plane, factor, offset: crop(
                plane, corners * factor + np.tile(offset, 2), size, cubic
            )
        )
    if image.shape[2:] == (1,):  # OpenCV drops a single channel
        return crop(image[..., 0], box, size, cubic)[..., None]
    rows, columns = (size, size) if isinstance(size, int) else size
    x0, y0, x1, y1 = _check_box(box)
    fx, fy = max(1, int((x1 - x0) / columns)), max(1, int((y1 - y0) / rows))
    if fx > 1 or fy > 1:  # deviation W15
        left, top = (int(np.floor(v)) - 2 * f for v, f in ((x0, fx), (y0, fy)))
        across, down = (int(np.ceil(v)) // f + 4 for v, f in ((x1 - x0, fx), (y1 - y0, fy)))
        part = _pixels(image, left, top, across * fx, down * fy)
        image = cv2.resize(part, (across, down), interpolation=cv2.INTER_AREA)
        x0, x1, y0, y1 = (x0 - left) / fx, (x1 - left) / fx, (y0 - top) / fy, (y1 - top) / fy
    x, y = ((x1 - x0) / columns, x0), ((y1 - y0) / rows, y0)
    return _resample(image, x, y, (rows, columns), cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR)


def paste(image: np.ndarray, patch: np.ndarray, box: np.ndarray, feather: float = 0) -> np.ndarray:
    """Pastes a crop into its box; the inverse of `crop`.

    Pixels that the box covers in part are blended in proportion, so that boxes can move by
    fractions of a pixel; parts beyond the image's border are lost.

    Args:
        image: uint8 or float32 (height, width[, channels]).
        patch: the crop, of the image's dtype and channels.
        box: (4,), of the crop.
        feather: pixels of the image over which the patch fades in from the sides of the box.

    Returns:
        A new image.

    Raises:
        ValueError: the box is empty or not finite.
    """
    x0, y0, x1, y1 = _check_box(box)
    height, width = image.shape[:2]
    left, right = max(0, int(np.floor(x0))), min(width, int(np.ceil(x1)))
    top, bottom = max(0, int(np.floor(y0))), min(height, int(np.ceil(y1)))
    result = image.copy()
    if left >= right or top >= bottom:
        return result
    rows, columns = patch.shape[:2]
    fx, fy = columns / (x1 - x0), rows / (y1 - y0)
    local = np.array([(left - x0) * fx, (top - y0) * fy, (right - x0) * fx, (bottom - y0) * fy])
    new = crop(patch, local, (bottom - top, right - left)).astype(np.float32)
    weight = np.outer(
        _coverage(top, bottom, y0, y1, feather), _coverage(left, right, x0, x1, feather)
    )
    weight = weight.astype(np.float32).reshape(weight.shape + (1,) * (image.ndim - 2))
    old = result[top:bottom, left:right].astype(np.float32)
    blended = old + weight * (new - old)
    result[top:bottom, left:right] = np.rint(blended) if image.dtype == np.uint8 else blended
    return result


def to_crop(points: np.ndarray, box: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Maps image coordinates into a crop's pixels.

    Args:
        points: (..., n, 2), x and y.
        box: (..., 4), one for each set of n points.
        size: the crop's rows and columns, or one number for both.

    Returns:
        float32 (..., n, 2).
    """
    rows, columns = (size, size) if isinstance(size, int) else size
    box = np.asarray(box, np.float64)[..., None, :]
    inside = (np.asarray(points) - box[..., :2]) / (box[..., 2:] - box[..., :2])
    return (inside * np.array([columns, rows])).astype(np.float32)


def _check_box(box: np.ndarray) -> list[float]:
    x0, y0, x1, y1 = (float(v) for v in box)
    if not (np.isfinite([x0, y0, x1, y1]).all() and x1 > x0 and y1 > y0):
        raise ValueError(f"the box {[x0, y0, x1, y1]} (x0, y0, x1, y1) is empty or not finite")
    return [x0, y0, x1, y1]


def _pixels(image: np.ndarray, left: int, top: int, columns: int, rows: int) -> np.ndarray:
    """Returns whole pixels of an image, beyond its border the nearest."""
    height, width = image.shape[:2]
    xs = np.clip([left, left + columns - 1], 0, width - 1)
    ys = np.clip([top, top + rows - 1], 0, height - 1)
    part = image[ys[0] : ys[1] + 1, xs[0] : xs[1] + 1]
    if part.shape[:2] == (rows, columns):
        return part
    above, before = max(0, min(-top, rows - 1)), max(0, min(-left, columns - 1))
    borders = above, rows - above - part.shape[0], before, columns - before - part.shape[1]
    return cv2.copyMakeBorder(part, *borders, cv2.BORDER_REPLICATE)


def _resample(
    image: np.ndarray,
    x: tuple[float, float],
    y: tuple[float, float],
    shape: tuple[int, int],
    interpolation: int,
) -> np.ndarray:
    """Samples output pixel (row v, column u) at x[0]·(u + ½) + x[1], likewise y."""
    matrix = np.array([[x[0], 0, x[1] + x[0] / 2 - 0.5], [0, y[0], y[1] + y[0] / 2 - 0.5]])
    return cv2.warpAffine(
        image,
        matrix,
        shape[::-1],
        flags=interpolation | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _coverage(first: int, last: int, low: float, high: float, feather: float) -> np.ndarray:
    """Computes the coverage of pixels first to last - 1 by [low, high], fading over `feather`."""
    edges = np.arange(first, last)
    covered = np.minimum(edges + 1, high) - np.maximum(edges, low)
    if feather > 0:
        depth = np.minimum(edges + 0.5 - low, high - edges - 0.5)
        covered = covered * np.clip(depth / feather, 0, 1)
    return np.clip(covered, 0, 1)
