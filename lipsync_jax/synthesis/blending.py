"""Blends a generated face into its frame without a visible seam.

Crops are uint8 (size, size, 3), masks float32 (size, size) in [0, 1], both over the face's box;
those of aligned faces have the size of their frame.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from lipsync_jax import faces
from lipsync_jax.faces import alignment
from lipsync_jax.faces.outline import FaceFrame
from lipsync_jax.media.planar import Image, PlanarImage, Planes

# Eyes, nose tip and mouth corners of a level frontal face in the box of `faces.face_box`, as
# fractions of the box; about what detection finds in real talking clips.
FRONTAL = np.array([[0.28, 0.35], [0.72, 0.35], [0.50, 0.53], [0.32, 0.67], [0.68, 0.67]])

_FEATHER = 0.35  # of the mask's radius, over which it fades
_TOP = (0.50, 0.58)  # rows over which it fades in: rows above are never replaced
_BORDER = 0.05  # of the box, over which it fades out at its sides and bottom
_MAX_COLOUR_SHIFT = 40.0  # levels by which colours are moved at most
_MOST_CHANNELS = 4  # that OpenCV interpolates at once
_FRAME_FADE = 0.12  # of an aligned frame's shorter side, over which it fades out


def mouth_mask(landmarks: np.ndarray, size: int) -> np.ndarray:
    """Returns the mask of a generated face: mouth, jaw and chin, fading into the cheeks.

    Args:
        landmarks: (5, 2), those of `faces.Face` as fractions of the box; NaN stands for a frontal
            face.
        size: rows and columns of the mask.

    Returns:
        float32 (size, size); 0 in the upper half and at the borders.
    """
    points = landmarks if np.isfinite(landmarks).all() else FRONTAL
    frame = FaceFrame.from_landmarks(points)
    breadth = max(abs(float((points[1] - points[0]) @ frame.across)) / frame.length, 0.8)
    grid = (np.arange(size) + 0.5) / size
    u, v = frame.coordinates(size)
    # A rounded box around the mouth, from beside the nose to below the chin.
    wide, high = np.abs(u * np.float32(1 / breadth)), np.maximum(v / -0.75, v / 1.15)
    radius = np.cbrt(wide * wide * wide + high * high * high)
    mask = _ramp(1 - radius, 0, _FEATHER) * _ramp(grid, *_TOP)[:, None]
    outermost = 0.75 / size  # these pixels are 0, so that nothing shows beyond the box
    fade = _ramp(np.minimum(grid, 1 - grid), outermost, _BORDER + outermost)
    mask *= fade * fade[:, None]
    return mask.astype(np.float32)


def box_mask(size: int) -> np.ndarray:
    """Returns a mask of the whole box with hard edges, as published Wav2Lip pastes."""
    return np.ones((size, size), np.float32)


def frame_mask(covered: np.ndarray) -> np.ndarray:
    """Returns the mask of an aligned frame: 1 but for a border over which the frame fades out.

    Args:
        covered: bool (rows, columns), where the frame lies inside the image.

    Returns:
        float32 (rows, columns); 0 at the borders and beyond the image.
    """
    padded = np.pad(covered, 1).astype(np.uint8)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    return _ramp(depth, 1.5, _FRAME_FADE * min(covered.shape)).astype(np.float32)


def match_colours(generated: np.ndarray, original: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Shifts a generated face's colours to the original's along the mask's fading edge.

    Args:
        generated: uint8 (size, size, 3).
        original: uint8 (size, size, 3), the original crop, in the channel order of `generated`.
        mask: see `mouth_mask`.

    Returns:
        float32 (size, size, 3), not clipped.
    """
    edge = mask * (1 - mask)
    generated = generated.astype(np.float32)
    shift = np.tensordot(edge, original - generated, 2) / max(float(edge.sum()), 1e-6)
    return generated + np.clip(shift, -_MAX_COLOUR_SHIFT, _MAX_COLOUR_SHIFT).astype(np.float32)


def blend(
    image: Image, patch: np.ndarray, mask: np.ndarray, box: np.ndarray, cubic: bool = False
) -> Image:
    """Blends a patch into an image by a mask.

    Args:
        image: uint8 (height, width, 3); or a frame in planes, which stays in planes.
        patch: float32 (rows, columns, 3), in the image's channel order, values of 0 to 255.
        mask: float32 (rows, columns).
        box: (4,), the patch's box, which may reach beyond the image.
        cubic: enlarge by bicubic interpolation, which is sharper than bilinear.

    Returns:
        An image; pixels where the mask is 0 are unchanged. The one given if all are.
    """
    if isinstance(image, PlanarImage):

        def change(planes: Planes, values: Planes, factor: float, offset: np.ndarray) -> Planes:
            place = np.asarray(box) * factor + np.tile(offset, 2)
            local = resample(values, mask, place, planes[0].shape, cubic)
            if local is None:
                return planes
            parts = zip(planes, local.channels, strict=True)
            return [mix(plane, new, local.weight, local.corner) for plane, new in parts]

        clipped = np.clip(patch, 0, 255, dtype=np.float32)
        return image.changed(image.from_rgb(clipped), change)
    local = resample(cv2.split(patch), mask, box, image.shape[:2], cubic)
    if local is None:
        return image
    return mix(image, cv2.merge(local.channels), local.weight, local.corner)


class Resampled(NamedTuple):
    """The part of a patch that its mask shows, in the pixels of an image.

    Attributes:
        channels: float32 (rows, columns) each.
        weight: float32 (rows, columns), 0 to 1.
        corner: the first row and column in the image.
    """

    channels: Sequence[np.ndarray]
    weight: np.ndarray
    corner: tuple[int, int]


def resample(
    channels: Sequence[np.ndarray],
    mask: np.ndarray,
    box: np.ndarray,
    shape: tuple[int, ...],
    cubic: bool,
) -> Resampled | None:
    """Resamples a patch to the pixels of an image, where its mask is not 0.

    Args:
        channels: of the patch, (rows, columns) each.
        mask: float32 (rows, columns).
        box: (4,), the patch's box in the image.
        shape: rows and columns of the image.
        cubic: see `blend`.

    Returns:
        The part; None if nothing of it is in the image.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    height, width = shape
    x0, y0, x1, y1 = (float(v) for v in box)
    scale = np.array([mask.shape[1] / (x1 - x0), mask.shape[0] / (y1 - y0)])
    # Only where the mask is not 0, and one pixel more, since interpolation fades to the next.
    left = max(0, int(np.floor(max(x0, x0 + (columns[0] - 1) / scale[0]))))
    right = min(width, int(np.ceil(min(x1, x0 + (columns[-1] + 2) / scale[0]))))
    top = max(0, int(np.floor(max(y0, y0 + (rows[0] - 1) / scale[1]))))
    bottom = min(height, int(np.ceil(min(y1, y0 + (rows[-1] + 2) / scale[1]))))
    if left >= right or top >= bottom:
        return None
    region = np.array([left, top, right, bottom]) - np.array([x0, y0, x0, y0])
    part, size = region * np.tile(scale, 2), (bottom - top, right - left)
    # When shrinking, bicubic interpolation would skip pixels.
    cubic = cubic and scale.max() < 1
    together = [channel.astype(np.float32, copy=False) for channel in (*channels, mask)]
    resampled: list[np.ndarray] = []
    for first in range(0, len(together), _MOST_CHANNELS):
        group = cv2.merge(together[first : first + _MOST_CHANNELS])
        resampled += cv2.split(faces.crop(group, part, size, cubic))
    weight = np.clip(resampled.pop(), 0, 1) * _inside(box, left, top, right, bottom)
    return Resampled(resampled, weight, (top, left))


def mix(
    image: np.ndarray, new: np.ndarray, weight: np.ndarray, corner: tuple[int, int]
) -> np.ndarray:
    """Returns a copy of an image or plane with new values in a part of it, by a weight.

    Args:
        image: uint8 (height, width[, channels]).
        new: float32 (rows, columns[, channels]), not clipped.
        weight: float32 (rows, columns), 0 to 1.
        corner: first row and column in the image.
    """
    result, (top, left) = image.copy(), corner
    part = result[top : top + weight.shape[0], left : left + weight.shape[1]]
    old = part.astype(np.float32)
    change = weighted(cv2.subtract(new, old), weight)
    part[:] = cv2.add(old, change, dtype=cv2.CV_8U)  # rounds, saturates
    return result


def weighted(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Multiplies (rows, columns[, 3]) by a float32 weight (rows, columns); returns float32."""
    # OpenCV's arithmetic, since NumPy is slow at spreading a weight over three channels.
    weights = weight if values.ndim == 2 else cv2.merge([weight] * 3)
    return cv2.multiply(values, weights, dtype=cv2.CV_32F)


def blend_aligned(image: Image, patch: np.ndarray, mask: np.ndarray, matrix: np.ndarray) -> Image:
    """Blends an aligned frame into the image that the frame was cropped from, by a mask.

    Args:
        image: uint8 (height, width, 3); or a frame in planes, which stays in planes.
        patch: float32 (rows, columns, 3), in the image's channel order, values of 0 to 255.
        mask: float32 (rows, columns), 0 at its borders.
        matrix: maps the image to the frame, see `alignment.align_matrix`.

    Returns:
        An image; pixels where the mask is 0 are unchanged. The one given if all are.
    """
    rows, columns = mask.shape
    corners = np.array([[0, 0], [columns, 0], [0, rows], [columns, rows]])
    inside = alignment.transform_points(corners, np.linalg.inv(matrix))
    limits = image.shape[1], image.shape[0]
    left, top = np.clip(np.floor(inside.min(axis=0)), 0, limits).astype(int).tolist()
    right, bottom = np.clip(np.ceil(inside.max(axis=0)) + 1, 0, limits).astype(int).tolist()
    if left >= right or top >= bottom:
        return image
    warped = cv2.warpAffine(
        np.concatenate([patch, mask[..., None]], axis=-1, dtype=np.float32),
        (matrix @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1]]))[:2],
        (right - left, bottom - top),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    box = np.array([left, top, right, bottom])
    return blend(image, warped[..., :3], warped[..., 3], box)


def _inside(box: np.ndarray, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """Returns the fraction of each pixel that the box covers, (rows, columns)."""
    x, y = np.arange(left, right), np.arange(top, bottom)
    across = np.clip(np.minimum(x + 1, box[2]) - np.maximum(x, box[0]), 0, 1)
    down = np.clip(np.minimum(y + 1, box[3]) - np.maximum(y, box[1]), 0, 1)
    return np.outer(down, across).astype(np.float32)


def _ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns 0 up to `low`, 1 from `high` on, and a smooth step between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
