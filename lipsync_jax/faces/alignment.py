"""Alignment of faces to a canonical one, as the temporal GANs of Vougioukas et al. are fed.

Five points that speech does not move, of the 68 of the iBUG scheme: the nose's base and the corners
of the eyes. Coordinates here are those of the published code, x first, whole numbers at the centres
of pixels (elsewhere in `lipsync_jax.faces` at their upper left corners: subtract 0.5).
"""

import cv2
import numpy as np

LANDMARKS = (33, 36, 39, 42, 45)  # nose base; outer, inner corner of one eye; inner, outer

# The points in a frame of 128 x 96, where no checkpoint says: the mean face and the margins of the
# author's face-processor.
CANONICAL_FACE = np.array(
    [[49.22, 71.64], [24.04, 43.32], [37.80, 44.08], [58.64, 43.17], [72.21, 41.97]]
)
FRAME_SIZE = (128, 96)
WINDOW = 7  # frames over which a video's points are averaged


def similarity(points: np.ndarray, canonical: np.ndarray = CANONICAL_FACE) -> np.ndarray:
    """The rotation, scale and shift that bring points closest to canonical ones (Umeyama 1991).

    Args:
        points: (n, 2) in the picture.
        canonical: (n, 2) in the frame.

    Returns:
        float64 (3, 3), from (x, y, 1) in the picture to (x, y, 1) in the frame.

    Raises:
        ValueError: shapes differ, or the points are not finite or all the same.
    """
    points, canonical = np.asarray(points, np.float64), np.asarray(canonical, np.float64)
    if points.shape != canonical.shape or points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points of shape {points.shape} cannot be put on {canonical.shape}")
    from_mean, to_mean = points.mean(axis=0), canonical.mean(axis=0)
    centred = points - from_mean
    spread = np.square(centred).sum()
    if not np.isfinite(spread) or spread == 0:
        raise ValueError("the landmarks are not finite, or all at one place")
    left, sizes, right = np.linalg.svd((canonical - to_mean).T @ centred)
    signs = np.array([1, np.sign(np.linalg.det(left) * np.linalg.det(right))])  # never a mirror
    rotation = left @ np.diag(signs) @ right
    matrix = np.eye(3)
    matrix[:2, :2] = (sizes @ signs) / spread * rotation
    matrix[:2, 2] = to_mean - matrix[:2, :2] @ from_mean
    return matrix


def align(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int] = FRAME_SIZE) -> np.ndarray:
    """Warps a picture into a frame: bilinear, 0 outside of the picture.

    Args:
        image: (height, width, channels), any channel order.
        matrix: of `similarity`.
        size: height and width of the frame.

    Returns:
        float32 (*size, channels), on the picture's scale; the published code truncates it to uint8.
    """
    rows, columns = np.indices(size)
    inverse = np.linalg.inv(matrix)
    x, y = (inverse[i, 0] * columns + inverse[i, 1] * rows + inverse[i, 2] for i in range(2))
    # OpenCV's own interpolation is exact to 1/32 of a pixel only.
    padded = cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_CONSTANT).astype(np.float64)
    padded = padded.reshape(*padded.shape[:2], -1)
    height, width = image.shape[:2]
    x, y = np.clip(x + 1, 0, width + 1), np.clip(y + 1, 0, height + 1)
    left, top = (np.minimum(v.astype(int), limit) for v, limit in ((x, width), (y, height)))
    across, down = (x - left)[..., None], (y - top)[..., None]
    upper = padded[top, left] * (1 - across) + padded[top, left + 1] * across
    lower = padded[top + 1, left] * (1 - across) + padded[top + 1, left + 1] * across
    return (upper * (1 - down) + lower * down).astype(np.float32)


def video_similarities(
    points: np.ndarray, canonical: np.ndarray = CANONICAL_FACE, window: int = WINDOW
) -> np.ndarray:
    """One matrix a frame, of the points' mean over the frame and those that follow.

    Args:
        points: (frames, n, 2).
        canonical: (n, 2).
        window: frames of the mean; the last window - 1 frames take the last whole mean, as in the
            author's face-processor. Shorter videos have a single mean.

    Returns:
        float64 (frames, 3, 3).

    Raises:
        ValueError: see `similarity`.
    """
    window = min(window, len(points))
    means = np.lib.stride_tricks.sliding_window_view(points, window, axis=0).mean(axis=-1)
    matrices = [similarity(mean, canonical) for mean in means]
    return np.stack(matrices + matrices[-1:] * (window - 1))
