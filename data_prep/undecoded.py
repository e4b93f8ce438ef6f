"""Frames that a decoder shows in grey because the key frame before them is missing."""

import numpy as np

FLAT_STD = 8.0  # levels; no image of a face is that even
MID_GREY = (100, 156)  # levels: where a decoder starts without a key frame
_TOLERANCE = 4  # levels by which a pixel that was not decoded yet differs
_MIN_FRACTION = 0.2  # of such pixels in a frame that is not complete yet
_STEP = 4  # every n-th row and column is inspected


class UndecodedFrames:
    """Tells, frame by frame, whether an image is undecoded.

    A frame of nothing but mid-grey is. After it, frames are undecoded as long as a fifth of their
    pixels keep that grey: moving parts appear first, the rest with the next key frame.
    """

    def __init__(self) -> None:
        self._grey: np.ndarray | None = None

    def __call__(self, rgb: np.ndarray) -> bool:
        """Returns whether the next frame, uint8 (height, width, 3), is undecoded."""
        pixels = rgb[::_STEP, ::_STEP].reshape(-1, 3).astype(np.float32)
        colour = pixels.mean(axis=0)
        if pixels.std(axis=0).max() < FLAT_STD:
            is_grey = bool(((colour > MID_GREY[0]) & (colour < MID_GREY[1])).all())
            self._grey = colour if is_grey else None
            return is_grey
        if self._grey is not None:
            same = (np.abs(pixels - self._grey) <= _TOLERANCE).all(axis=1)
            if same.mean() > _MIN_FRACTION:
                return True
            self._grey = None
        return False
