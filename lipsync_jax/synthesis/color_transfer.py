"""Low-frequency colour transfer from a frame's face to the generated face, averaged over time.

A generator changes colours by amounts that vary over the face: one cheek becomes too red, the chin
too dark. The difference between the original and the generated crop is averaged in CIELAB over the
cells of a coarse grid, only where both crops contain skin of the face, and the interpolated average
is added to the generated crop. Lips, teeth and the background do not count. The face of a black and
white film gets no colour.
"""

import math

import cv2
import numpy as np

from lipsync_jax.faces.outline import FaceFrame
from lipsync_jax.faces.temporal import past_weight

_GRID_SIZE = 12  # cells of a side of the grid
_DIFFERENCE_SIZE = 48  # pixels of a side of the crops whose difference is taken
_TIME_CONSTANT = 0.25  # seconds after which the weight of a frame is 1/e
_TOLERANCE = 12.0  # CIELAB distance from the expected difference at which the weight is 1/2
_MAX_SHIFT = 40.0  # CIELAB units by which a colour is shifted at most
_MAX_GREY_CHROMA = 8.0  # of a crop without colour; skin in the faintest light has more
_FALLBACK_WEIGHT = 1e-3  # of the surroundings' average in a cell
_UPPER_FRACTION = 0.5  # of a crop's height, where generators copy the input in other colours
# Half axes of the region that speech changes: across, in widths of the mouth; up and down, in
# distances from eyes to mouth.
_MOUTH_AXES = (0.95, 0.4, 0.62)


class ColorTransfer:
    """Transfers colours for one face through a video; deterministic, of constant memory."""

    def __init__(self) -> None:
        self._sums: np.ndarray | None = None  # (cells, cells, 4): weighted differences, weights
        self._seconds = -math.inf

    def __call__(
        self, generated: np.ndarray, original: np.ndarray, weights: np.ndarray, seconds: float
    ) -> np.ndarray:
        """Shifts the colours of the next frame's face.

        Args:
            generated: uint8 RGB (size, size, 3).
            original: the frame's crop in CIELAB, float32 (size, size, 3), see `to_lab`.
            weights: float32 (size, size), 0 to 1, high where both crops are expected to contain
                the same skin; see `skin_weights`.
            seconds: time at which the frame is shown. A step backwards, or one of more than half a
                second, restarts the temporal average.

        Returns:
            float32 RGB (size, size, 3), values of 0 to 255.
        """
        new = to_lab(generated)
        self._decay(seconds)
        size = _DIFFERENCE_SIZE
        difference, weights = _shrink(original - new, size), _shrink(weights, size)
        sums = _shrink(_weighted(difference, weights, self._colour_shift(size)), _GRID_SIZE)
        self._sums = sums if self._sums is None else self._sums + sums
        new += self._colour_shift(new.shape[0])
        _limit_chroma(new, original)
        # OpenCV clips to the gamut, and returns levels of 0 to 1.
        return cv2.cvtColor(new, cv2.COLOR_Lab2RGB) * np.float32(255)

    def _decay(self, seconds: float) -> None:
        weight = past_weight(seconds - self._seconds, _TIME_CONSTANT)
        self._seconds = seconds
        if self._sums is not None:
            self._sums = self._sums * np.float32(weight) if weight else None

    def _colour_shift(self, size: int) -> np.ndarray | None:
        """Returns each pixel's colour shift, float32 (size, size, 3); None without a past."""
        if self._sums is None:
            return None
        # Cells without skin take the average of those around them, weighted by distance.
        narrow = cv2.GaussianBlur(self._sums, (0, 0), 0.7, borderType=cv2.BORDER_REFLECT)
        wide = cv2.GaussianBlur(self._sums, (0, 0), 2.0, borderType=cv2.BORDER_REFLECT)
        sums = narrow + np.float32(_FALLBACK_WEIGHT**0.5) * wide
        sums += np.float32(_FALLBACK_WEIGHT) * self._sums.mean((0, 1))
        cells = sums[..., :3] / np.maximum(sums[..., 3:], np.float32(1e-9))
        np.clip(cells, -_MAX_SHIFT, _MAX_SHIFT, out=cells)
        return cv2.resize(cells, (size, size), interpolation=cv2.INTER_CUBIC)


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """Returns the CIELAB values (L of 0 to 100) of uint8 sRGB pixels, as float32."""
    return cv2.cvtColor(rgb.astype(np.float32) * np.float32(1 / 255), cv2.COLOR_RGB2Lab)


def skin_weights(landmarks: np.ndarray, size: int) -> np.ndarray:
    """Returns high weights where a crop's lower half contains skin that speech hardly moves.

    Args:
        landmarks: (5, 2), those of `faces.Face` as fractions of the crop, finite.
        size: rows and columns of the crop.

    Returns:
        float32 (size, size), 0 to 1; 0 at the mouth and in the upper half.
    """
    frame = FaceFrame.from_landmarks(landmarks)
    u, v = frame.coordinates(size)
    breadth = max(float(np.hypot(*(landmarks[4] - landmarks[3]))) / frame.length, 0.5)
    side, top, bottom = _MOUTH_AXES
    lips = np.square(u * np.float32(1 / (side * breadth)))
    lips += np.square(np.maximum(v * np.float32(-1 / top), v * np.float32(1 / bottom)))
    weights = np.clip(lips * 3 - 2, 0, 1)
    weights[: round(_UPPER_FRACTION * size)] = 0
    return weights


def _limit_chroma(lab: np.ndarray, original: np.ndarray) -> None:
    """Limits chroma, in place, to the largest of an original that is black and white, or almost."""
    # A quarter of the pixels tells, in a tenth of the time.
    limit = math.sqrt(float(_squared_chroma(original[::2, ::2]).max()))
    if limit > _MAX_GREY_CHROMA:
        return
    chroma = np.sqrt(_squared_chroma(lab))
    lab[..., 1:] *= np.minimum(1, limit / np.maximum(chroma, np.float32(1e-6)))[..., None]


def _squared_chroma(lab: np.ndarray) -> np.ndarray:
    return np.square(lab[..., 1]) + np.square(lab[..., 2])


def _shrink(values: np.ndarray, size: int) -> np.ndarray:
    return cv2.resize(values, (size, size), interpolation=cv2.INTER_AREA)


def _weighted(
    difference: np.ndarray, weights: np.ndarray, expected: np.ndarray | None
) -> np.ndarray:
    """Returns differences times weights, and the weights, float32 (size, size, 4).

    Pixels with a difference far from the expected one get a low weight: the crops differ there in
    content, not in colour.
    """
    if expected is None:
        total = max(float(weights.sum()), 1e-6)
        mean = np.tensordot(weights, difference, 2) / total
        close = _closeness(difference - mean.astype(np.float32)) * weights
        robust = np.tensordot(close, difference, 2) / max(float(close.sum()), 1e-6)
        expected = robust.astype(np.float32)
    robust_weights = _closeness(difference - expected) * weights
    products = cv2.multiply(difference, cv2.merge([robust_weights] * 3))
    return cv2.merge([products, robust_weights])


def _closeness(residual: np.ndarray) -> np.ndarray:
    """Returns weights of a residual (size, size, 3): 1 at 0, 1/2 at `_TOLERANCE`, 0 at infinity."""
    square = np.einsum("yxc,yxc->yx", residual, residual)
    return 1 / (1 + square * np.float32(1 / _TOLERANCE**2))
