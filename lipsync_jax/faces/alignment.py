"""Alignment of faces to a canonical face, the input of the temporal GANs of Vougioukas et al.

The transform uses five of the 68 iBUG landmarks that are stable during speech: the nose base and
the corners of the eyes. Coordinates here are those of the published code, x first, with integers
at the centres of pixels (elsewhere in `lipsync_jax.faces` at their upper left corners: subtract
0.5).
"""

import cv2
import numpy as np

LANDMARKS = (33, 36, 39, 42, 45)  # nose base; outer, inner corner of one eye; inner, outer

# The points in a frame of 128 x 96, unless a checkpoint has its own: the mean face and the margins
# of the author's face-processor.
CANONICAL_FACE = np.array(
    [[49.22, 71.64], [24.04, 43.32], [37.80, 44.08], [58.64, 43.17], [72.21, 41.97]]
)
FRAME_SIZE = (128, 96)
# Lip crop within that frame, in pixel edges: 1.3 mouth widths (published code of Chen et al.). The
# mean mouth of 12 videos is 30 pixels wide at (50, 80); the crop is lower, for open mouths.
# Deviation G13: published crops follow the mouth's points.
LIPS_LEFT, LIPS_TOP, LIPS_SIDE = 30, 63, 40
# Square crop of the full width, from above the brows to the chin.
SQUARE_TOP, SQUARE_SIDE = 20, 96
CANONICAL = {  # the points in frames of 128 x 96, of 64 x 64 around the lips, and of 112 x 112
    "face": CANONICAL_FACE,
    "lips": (CANONICAL_FACE + 0.5 - [LIPS_LEFT, LIPS_TOP]) * (64 / LIPS_SIDE) - 0.5,
    "square": (CANONICAL_FACE + 0.5 - [0, SQUARE_TOP]) * (112 / SQUARE_SIDE) - 0.5,
}
WINDOW = 7  # frames of the moving average of a video's points

# The five points from a detector's landmarks, as fractions of the distance between the eyes and of
# the vector from the nose tip to the centre of the mouth: least-squares fit to a 68-point predictor
# on 247 frames of six speakers. Aligned frames are 2 to 9 pixels off those of the predictor, mostly
# in one direction throughout a video.
# Deviation T5.
_CORNERS = 0.2
_NOSE_BASE = 0.38


def stable_points(landmarks: np.ndarray) -> np.ndarray:
    """Estimates the five points from the landmarks of `faces.Face`.

    Args:
        landmarks: (..., 5, 2): eyes, nose tip, mouth corners, image-left first.

    Returns:
        float64 (..., 5, 2), in the order of LANDMARKS and in the coordinates given.
    """
    left, right, tip, *mouth = np.moveaxis(np.asarray(landmarks, np.float64), -2, 0)
    base = tip + _NOSE_BASE * (np.mean(mouth, axis=0) - tip)
    corner_offset = _CORNERS * (right - left)
    return np.stack(
        [
            base,
            left - corner_offset,
            left + corner_offset,
            right - corner_offset,
            right + corner_offset,
        ],
        axis=-2,
    )


def umeyama(points: np.ndarray, canonical: np.ndarray = CANONICAL_FACE) -> np.ndarray:
    """Fits the similarity transform of points to canonical points by least squares (Umeyama 1991).

    Args:
        points: (n, 2) in the image.
        canonical: (n, 2) in the frame.

    Returns:
        float64 (3, 3), from (x, y, 1) in the image to (x, y, 1) in the frame.

    Raises:
        ValueError: shapes differ, or the points are not finite or all equal.
    """
    points, canonical = np.asarray(points, np.float64), np.asarray(canonical, np.float64)
    if points.shape != canonical.shape or points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points of shape {points.shape} cannot be aligned to {canonical.shape}")
    from_mean, to_mean = points.mean(axis=0), canonical.mean(axis=0)
    centred = points - from_mean
    spread = np.square(centred).sum()
    if not np.isfinite(spread) or spread == 0:
        raise ValueError("the landmarks are not finite, or all equal")
    left, sizes, right = np.linalg.svd((canonical - to_mean).T @ centred)
    signs = np.array([1, np.sign(np.linalg.det(left) * np.linalg.det(right))])  # no reflection
    rotation = left @ np.diag(signs) @ right
    matrix = np.eye(3)
    matrix[:2, :2] = (sizes @ signs) / spread * rotation
    matrix[:2, 2] = to_mean - matrix[:2, :2] @ from_mean
    return matrix


def warp(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int] = FRAME_SIZE) -> np.ndarray:
    """Warps an image into a frame: bilinear, 0 outside of the image.

    Args:
        image: (height, width, channels), any channel order.
        matrix: from `umeyama`.
        size: height and width of the frame.

    Returns:
        float32 (*size, channels), on the image's scale; the published code truncates to uint8.
    """
    rows, columns = np.indices(size)
    inverse = np.linalg.inv(matrix)
    x, y = (inverse[i, 0] * columns + inverse[i, 1] * rows + inverse[i, 2] for i in range(2))
    # OpenCV interpolates with a precision of 1/32 of a pixel only.
    padded = cv2.copyMakeBorder(image, 1, 1, 1, 1, cv2.BORDER_CONSTANT).astype(np.float64)
    padded = padded.reshape(*padded.shape[:2], -1)
    height, width = image.shape[:2]
    x, y = np.clip(x + 1, 0, width + 1), np.clip(y + 1, 0, height + 1)
    left, top = (np.minimum(v.astype(int), limit) for v, limit in ((x, width), (y, height)))
    across, down = (x - left)[..., None], (y - top)[..., None]
    upper = padded[top, left] * (1 - across) + padded[top, left + 1] * across
    lower = padded[top + 1, left] * (1 - across) + padded[top + 1, left + 1] * across
    return (upper * (1 - down) + lower * down).astype(np.float32)


def smoothed_umeyama(
    points: np.ndarray, canonical: np.ndarray = CANONICAL_FACE, window: int = WINDOW
) -> np.ndarray:
    """Fits one transform a frame, to the mean of the points over that and the following frames.

    Args:
        points: (frames, n, 2).
        canonical: (n, 2).
        window: frames of the mean; the last window - 1 frames use the last full mean, as in the
            author's face-processor. Shorter videos have a single mean.

    Returns:
        float64 (frames, 3, 3).

    Raises:
        ValueError: see `umeyama`.
    """
    window = min(window, len(points))
    means = np.lib.stride_tricks.sliding_window_view(points, window, axis=0).mean(axis=-1)
    matrices = [umeyama(mean, canonical) for mean in means]
    return np.stack(matrices + matrices[-1:] * (window - 1))


def align_matrix(landmarks: np.ndarray, canonical: np.ndarray = CANONICAL_FACE) -> np.ndarray:
    """Fits the transform of an image from the landmarks (5, 2) of a `faces.Face`; see `umeyama`."""
    return umeyama(stable_points(landmarks) - 0.5, canonical)


def align_matrices(landmarks: np.ndarray, canonical: np.ndarray = CANONICAL_FACE) -> np.ndarray:
    """Fits the transforms of a video from landmarks (frames, 5, 2); see `smoothed_umeyama`."""
    return smoothed_umeyama(stable_points(landmarks) - 0.5, canonical)


def transform_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Maps points (..., n, 2) by matrices (..., 3, 3), both in the coordinates of `faces`."""
    rotated = (np.asarray(points, np.float64) - 0.5) @ np.swapaxes(matrix[..., :2, :2], -1, -2)
    return (rotated + matrix[..., None, :2, 2] + 0.5).astype(np.float32)


def warp_crop(
    image: np.ndarray, matrix: np.ndarray, size: tuple[int, int] = FRAME_SIZE
) -> np.ndarray:
    """Warps an image of any size like `warp`; averages pixels first where the image is denser.

    Args:
        image: uint8 (height, width, 3), any channel order.
        matrix: from `umeyama`.
        size: height and width of the frame.

    Returns:
        uint8 (*size, 3).
    """
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [size[1], 0], [0, size[0]], [size[1], size[0]]])
    source_corners = transform_points(corners, np.linalg.inv(matrix))
    factor = max(1, int(1 / np.sqrt(np.linalg.det(matrix[:2, :2]))))
    low, high = source_corners.min(axis=0) - 2 * factor, source_corners.max(axis=0) + 2 * factor
    left, top = np.clip(np.floor(low), 0, [width - 1, height - 1]).astype(int)
    right, bottom = np.clip(np.ceil(high), [left + 1, top + 1], [width, height]).astype(int)
    source = image[top:bottom, left:right]
    if factor > 1:
        rows, columns = -(-source.shape[0] // factor), -(-source.shape[1] // factor)
        padding = (0, rows * factor - source.shape[0], 0, columns * factor - source.shape[1])
        source = cv2.copyMakeBorder(source, *padding, cv2.BORDER_REPLICATE)
        source = cv2.resize(source, (columns, rows), interpolation=cv2.INTER_AREA)
    # Pixel (x, y) of `source` has its centre at factor (x, y) + shift of the image.
    shift = np.array([left, top]) + (factor - 1) / 2
    source_to_image = np.diag([factor, factor, 1.0])
    source_to_image[:2, 2] = shift
    return np.rint(warp(source, matrix @ source_to_image, size)).astype(np.uint8)
