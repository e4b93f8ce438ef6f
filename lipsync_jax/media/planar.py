"""Frames as their decoder gave them, in planes of 4:2:0, of which only parts become RGB.

Most pixels of a dubbed frame are the source's. Kept in planes, they reach the encoder bit for bit,
where a conversion to RGB and back would cost time and round the chroma.
"""

import functools
from collections.abc import Callable, Sequence
from typing import cast

import av
import cv2
import numpy as np

from lipsync_jax.types import Untyped

FORMAT = "yuv420p"
# Weights of red and blue in the luminance, by the matrix's code in ITU-T H.273.
_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
MATRICES = frozenset(_LUMA_WEIGHTS)  # codes that `PlanarImage` converts
# MPEG's place of a chroma sample, which FFmpeg assumes too: horizontally that of the left pixel of
# luma, vertically between both. In pixels of chroma, to the right of the middle of its four pixels
# of luma (x, y).
_CHROMA_OFFSET = np.array([0.25, 0.0])


class PlanarImage:
    """One frame of 8-bit 4:2:0 video in limited range; never modified.

    Attributes:
        planes: Y, U and V, uint8 (height, width) and twice (height / 2, width / 2).
        matrix: the code of its conversion from RGB in ITU-T H.273, one of `MATRICES`.
        shape: (height, width, 3), the shape of the frame as an RGB image.
    """

    def __init__(self, planes: tuple[np.ndarray, np.ndarray, np.ndarray], matrix: int) -> None:
        """Stores the attributes; height and width are even."""
        self.planes, self.matrix = planes, matrix
        height, width = planes[0].shape
        self.shape = height, width, 3

    @classmethod
    def from_frame(cls, frame: av.VideoFrame, matrix: int) -> "PlanarImage":
        """Returns a copy of a decoded frame."""
        # PyAV's frames are in reference cycles: those that live long would stay for minutes.
        planes = [plane_array(plane).copy() for plane in frame.planes]
        return cls((planes[0], planes[1], planes[2]), matrix)

    def rgb(self) -> np.ndarray:
        """Converts the whole frame, uint8 (height, width, 3); FFmpeg's values to two levels."""
        return self.resampled(self._enlarge)

    def resampled(
        self, resample: Callable[[np.ndarray, float, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Resamples the planes to one size and converts the result.

        Args:
            resample: (plane, factor, offset) -> uint8 (rows, columns), of equal size for the three
                planes; position p (x, y) of the frame is at p · factor + offset in the plane.

        Returns:
            uint8 RGB (rows, columns, 3).
        """
        luma, *chroma = self.planes
        planes = [resample(luma, 1.0, np.zeros(2))]
        planes += [resample(plane, 0.5, _CHROMA_OFFSET) for plane in chroma]
        return cv2.transform(cv2.merge(planes), _to_rgb_matrix(self.matrix))

    def _enlarge(self, plane: np.ndarray, factor: float, offset: np.ndarray) -> np.ndarray:
        if factor == 1:
            return plane
        x, y = offset + factor / 2 - 0.5
        matrix = np.array([[factor, 0, x], [0, factor, y]])
        flags, size = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, self.shape[1::-1]
        return cv2.warpAffine(plane, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)

    def resized(self, size: tuple[int, int]) -> np.ndarray:
        """Resizes the frame to (width, height); averages areas where it shrinks; uint8 RGB."""
        return self.resampled(lambda plane, *_: _resize(plane, size))

    def from_rgb(self, rgb: np.ndarray) -> np.ndarray:
        """Converts float32 RGB (rows, columns, 3) to the frame's colours: Y, U and V, float32."""
        return cv2.transform(rgb, _to_yuv_matrix(self.matrix))

    def changed(self, yuv: np.ndarray, change: "Change") -> "PlanarImage":
        """Changes the planes by an image of any size, e.g. one that is blended in.

        Args:
            yuv: float32 (rows, columns, 3), e.g. of `from_rgb`.
            change: (planes, channels of `yuv`, factor, offset) -> new planes, for Y and for U and
                V; factor and offset as in `resampled`.

        Returns:
            A new frame.
        """
        luma, *chroma = cv2.split(yuv)
        (y,) = change(self.planes[:1], [luma], 1.0, np.zeros(2))
        u, v = change(self.planes[1:], chroma, 0.5, _CHROMA_OFFSET)
        return PlanarImage((y, u, v), self.matrix)

    def to_frame(self) -> av.VideoFrame:
        """Returns a copy as a frame to encode."""
        height, width, _ = self.shape
        frame = av.VideoFrame(width, height, FORMAT)
        for plane, values in zip(frame.planes, self.planes, strict=True):
            plane_array(plane)[:] = values
        return frame


Image = np.ndarray | PlanarImage
Planes = Sequence[np.ndarray]
Change = Callable[[Planes, Planes, float, np.ndarray], Planes]


def to_rgb(image: Image) -> np.ndarray:
    """Returns an image as uint8 RGB (height, width, 3)."""
    return image.rgb() if isinstance(image, PlanarImage) else image


def plane_array(plane: av.video.plane.VideoPlane) -> np.ndarray:
    """Returns a plane of 8 bits, uint8 (height, width), without a copy."""
    values = np.frombuffer(cast(Untyped, plane), np.uint8)
    return values.reshape(-1, plane.line_size)[: plane.height, : plane.width]


def _resize(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    # Halves are quick: a twentieth of the time of other fractions.
    while not any(n % 2 for n in plane.shape) and (
        plane.shape[1] >= 2 * width and plane.shape[0] >= 2 * height
    ):
        half = plane.shape[1] // 2, plane.shape[0] // 2
        plane = cv2.resize(plane, half, interpolation=cv2.INTER_AREA)
    shrinks = plane.shape[1] > width or plane.shape[0] > height
    return cv2.resize(plane, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


@functools.cache
def _to_yuv_matrix(code: int) -> np.ndarray:
    """Returns (3, 4): RGB of 0 to 255 and 1 -> Y, U, V of limited range."""
    red, blue = _LUMA_WEIGHTS[code]
    luma = np.array([red, 1 - red - blue, blue])
    matrix = np.zeros((3, 4))
    matrix[0, :3] = luma * (219 / 255)
    for row, (channel, weight) in enumerate(((2, blue), (0, red)), start=1):
        matrix[row, :3] = (np.eye(3)[channel] - luma) * (224 / 255 / (2 * (1 - weight)))
    matrix[:, 3] = 16, 128, 128
    return matrix


@functools.cache
def _to_rgb_matrix(code: int) -> np.ndarray:
    """Returns (3, 4): Y, U, V of limited range and 1 -> RGB of 0 to 255."""
    matrix = _to_yuv_matrix(code)
    inverse = np.linalg.inv(matrix[:, :3])
    return np.concatenate([inverse, -inverse @ matrix[:, 3:]], axis=1)
