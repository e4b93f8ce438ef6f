"""Detail of the frame in a generated face of fewer pixels: pores, stubble, edges of the lips.

A network generates a face of e.g. 96 pixels; enlarged to a frame's 400, it is soft. Most of the
missing detail is in the frame, only elsewhere, as lips and chin have moved. Optical flow from the
generated face to the frame's crop, at the network's size, tells where. The frame's detail, all that
the crop has not, is warped by this flow and added where the warped crop looks like the generated
face. Where it does not, as inside a mouth that has opened, none is added.

This works with every network, as it needs nothing but the generated face.
"""

from typing import NamedTuple

import cv2
import numpy as np

from lipsync_jax import faces
from lipsync_jax.media.planar import Image

MIN_SCALE = 1.1  # pixels of the frame per pixel of the crop; below, a crop has all the detail
_MAX_SIDE = 1024  # pixels of an enlarged face; larger faces are enlarged from there
_TOP = 3 / 8  # of the crop: rows above are neither generated nor moved into the lower half
_TOLERANCE = 20.0  # levels by which warped and generated pixels differ where 1/e of it is added
_SIGMA = 0.7  # pixels of the crop, over which these differences are averaged


class EnlargedFace(NamedTuple):
    """The lower part of a generated face, at the frame's resolution.

    Attributes:
        patch: float32 RGB (rows, columns, 3), values of 0 to 255, not clipped.
        mask: float32 (rows, columns), in [0, 1].
        box: (4,), of both in the frame.
    """

    patch: np.ndarray
    mask: np.ndarray
    box: np.ndarray


def enlarge(
    image: Image,
    patch: np.ndarray,
    original: np.ndarray,
    mask: np.ndarray,
    box: np.ndarray,
    sharpened: np.ndarray,
) -> EnlargedFace | None:
    """Enlarges a generated face, and adds the frame's detail to it.

    Args:
        image: the frame, uint8 RGB (height, width, 3) or in planes.
        patch: float32 RGB (size, size, 3), the generated face, values of 0 to 255.
        original: uint8 RGB (size, size, 3), the frame's crop.
        mask: float32 (size, size), with which the patch is blended; 0 in the upper half.
        box: (4,), the crop's box in the frame.
        sharpened: float32 RGB (size, size, 3), the same face, to be shown where the frame has no
            detail of it.

    Returns:
        The face; None where the frame has hardly more pixels than the crop.
    """
    size, (x0, y0, x1, y1) = len(patch), (float(v) for v in box)
    if min(x1 - x0, y1 - y0) < MIN_SCALE * size:
        return None
    top = int(_TOP * size)
    lower = np.array([x0, y0 + (y1 - y0) * top / size, x1, y1])
    columns, rows = (
        round(min(side, _MAX_SIDE * side / max(x1 - x0, y1 - y0)))
        for side in (x1 - x0, lower[3] - lower[1])
    )
    moved, flow = _warp_to(patch, original, top)
    difference = cv2.GaussianBlur(np.abs(patch[top:] - moved).mean(-1), (0, 0), _SIGMA)
    difference /= np.float32(_TOLERANCE)
    similarity = np.exp(-difference * difference)[..., None]
    # Sharpening shows a network's ripples on skin, which has the frame's detail instead.
    patch = sharpened[top:] + similarity * (patch - sharpened)[top:]

    def resize(values: np.ndarray, interpolation: int = cv2.INTER_CUBIC) -> np.ndarray:
        return cv2.resize(values, (columns, rows), interpolation=interpolation)

    frame = faces.crop(image, lower, (rows, columns), cubic=True)
    scale = np.array([columns / size, rows / (size - top)], np.float32)
    detail = cv2.subtract(_warp(frame, resize(flow) * scale), resize(moved), dtype=cv2.CV_32F)
    detail = cv2.multiply(detail, cv2.merge([resize(similarity, cv2.INTER_LINEAR)] * 3))
    return EnlargedFace(cv2.add(resize(patch), detail), resize(mask[top:], cv2.INTER_LINEAR), lower)


def _warp_to(
    generated: np.ndarray, original: np.ndarray, top: int
) -> tuple[np.ndarray, np.ndarray]:
    """Warps the frame's crop to the generated face, from the row `top` on.

    Returns:
        float32 (rows, size, 3), the crop; and float32 (rows, size, 2), where each of its pixels
        comes from: columns and rows from there, in pixels of the crop.
    """
    grey = [
        cv2.cvtColor(np.clip(face, 0, 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)[top:]
        for face in (generated, original)
    ]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = search.calc(grey[0], grey[1], None)  # type: ignore[call-overload]  # None: no guess
    return _warp(original[top:], flow, cv2.INTER_LINEAR).astype(np.float32), flow


def _warp(image: np.ndarray, flow: np.ndarray, interpolation: int = cv2.INTER_CUBIC) -> np.ndarray:
    """Samples an image at each of its pixels plus the flow; beyond it, edge pixels repeat."""
    rows, columns = image.shape[:2]
    x = flow[..., 0] + np.arange(columns, dtype=np.float32)
    y = flow[..., 1] + np.arange(rows, dtype=np.float32)[:, None]
    return cv2.remap(image, x, y, interpolation, borderMode=cv2.BORDER_REPLICATE)
