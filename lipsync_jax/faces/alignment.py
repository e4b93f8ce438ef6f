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
# Of that frame, between edges of pixels: 1.3 widths of the mouth (published code of Chen et al.).
# It is 30 pixels wide and at (50, 80), the mean of 12 videos; lower here, since it opens downwards.
LIPS_LEFT, LIPS_TOP, LIPS_SIDE = 30, 63, 40
# Likewise, all of its width, from above the brows to the chin.
SQUARE_TOP, SQUARE_SIDE = 20, 96
CANONICAL = {  # the points in frames of 128 x 96, of 64 x 64 around the lips, and of 112 x 112
    "face": CANONICAL_FACE,
    "lips": (CANONICAL_FACE + 0.5 - [LIPS_LEFT, LIPS_TOP]) * (64 / LIPS_SIDE) - 0.5,
    "square": (CANONICAL_FACE + 0.5 - [0, SQUARE_TOP]) * (112 / SQUARE_SIDE) - 0.5,
}
WINDOW = 7  # frames over which a video's points are averaged

# The five points out of a detector's, in parts of the distance between the eyes and of the way from
# the nose's tip to the middle of the mouth: least squares against a predictor of all 68 on 247
# frames of six speakers. Frames end up 2 to 9 pixels from where its points put them, mostly the
# same way throughout a video.
_CORNERS = 0.2
_NOSE_BASE = 0.38


def stable_points(landmarks: np.ndarray) -> np.ndarray:
    """The five points as nearly as the landmarks of `faces.Face` tell them.

    Args:
        landmarks: (..., 5, 2): eyes, nose tip, mouth corners, image-left first.

    Returns:
        float64 (..., 5, 2), in the order of LANDMARKS and in the coordinates given.
    """
    left, right, tip, *mouth = np.moveaxis(np.asarray(landmarks, np.float64), -2, 0)
    base = tip + _NOSE_BASE * (np.mean(mouth, axis=0) - tip)
    reach = _CORNERS * (right - left)
    return np.stack([base, left - reach, left + reach, right - reach, right + reach], axis=-2)


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


def place(landmarks: np.ndarray, canonical: np.ndarray = CANONICAL_FACE) -> np.ndarray:
    """The matrix for a still, from the landmarks (5, 2) of a `faces.Face`; see `similarity`."""
    return similarity(stable_points(landmarks) - 0.5, canonical)


def places(landmarks: np.ndarray, canonical: np.ndarray = CANONICAL_FACE) -> np.ndarray:
    """The matrices for a video, from landmarks (frames, 5, 2); see `video_similarities`."""
    return video_similarities(stable_points(landmarks) - 0.5, canonical)


def to_frame(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Maps points (..., n, 2) by matrices (..., 3, 3), both in the coordinates of `faces`."""
    turned = (np.asarray(points, np.float64) - 0.5) @ np.swapaxes(matrix[..., :2, :2], -1, -2)
    return (turned + matrix[..., None, :2, 2] + 0.5).astype(np.float32)


def cut_out(
    image: np.ndarray, matrix: np.ndarray, size: tuple[int, int] = FRAME_SIZE
) -> np.ndarray:
    """`align` for pictures of any size: those more than twice as dense are first averaged.

    Args:
        image: uint8 (height, width, 3), any channel order.
        matrix: of `similarity`.
        size: height and width of the frame.

    Returns:
        uint8 (*size, 3).
    """
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [size[1], 0], [0, size[0]], [size[1], size[0]]])
    inside = to_frame(corners, np.linalg.inv(matrix))
    factor = max(1, int(1 / np.sqrt(np.linalg.det(matrix[:2, :2]))))
    low, high = inside.min(axis=0) - 2 * factor, inside.max(axis=0) + 2 * factor
    left, top = np.clip(np.floor(low), 0, [width - 1, height - 1]).astype(int)
    right, bottom = np.clip(np.ceil(high), [left + 1, top + 1], [width, height]).astype(int)
    part = image[top:bottom, left:right]
    if factor > 1:
        rows, columns = -(-part.shape[0] // factor), -(-part.shape[1] // factor)
        padding = (0, rows * factor - part.shape[0], 0, columns * factor - part.shape[1])
        part = cv2.copyMakeBorder(part, *padding, cv2.BORDER_REPLICATE)
        part = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
    # Pixel (x, y) of the part has its centre at pixel factor (x, y) + shift of the image.
    shift = np.array([left, top]) + (factor - 1) / 2
    there = np.diag([factor, factor, 1.0])
    there[:2, 2] = shift
    return np.rint(align(part, matrix @ there, size)).astype(np.uint8)
