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
_MARGIN = 8  # pixels of the crop around the mask, from where detail may move into it
_TOLERANCE = 20.0  # levels by which warped and generated pixels differ where 1/e of it is added
_SIGMA = 0.7  # pixels of the crop, over which these differences are averaged


class EnlargedFace(NamedTuple):
    """The part of a generated face that is shown, at the frame's resolution.

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
        The face; None where the frame has hardly more pixels than the crop, or the mask is 0.
    """
    size = len(patch)
    sides = (np.asarray(box)[2:] - np.asarray(box)[:2]).astype(float)
    if sides.min() < MIN_SCALE * size or not mask.any():
        return None
    region = _region(mask)
    patch, original, mask, sharpened = (x[region] for x in (patch, original, mask, sharpened))
    corners = np.array([(s.start, s.stop) for s in region[::-1]]).T / size
    part = (np.asarray(box)[:2] + corners * sides).ravel()
    scale = sides * min(1.0, _MAX_SIDE / sides.max()) / size
    columns, rows = np.maximum(1, np.rint(mask.shape[::-1] * scale)).astype(int).tolist()

    moved, flow = _warp_to(patch, original)
    difference = cv2.GaussianBlur(np.abs(patch - moved).mean(-1), (0, 0), _SIGMA)
    difference /= np.float32(_TOLERANCE)
    similarity = np.exp(-difference * difference)
    # Sharpening shows a network's ripples on skin, which has the frame's detail instead.
    rest = sharpened + similarity[..., None] * (patch - sharpened - moved)

    def resize(values: np.ndarray, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
        return cv2.resize(values, (columns, rows), interpolation=interpolation)

    frame = faces.crop(image, part, (rows, columns), cubic=True).astype(np.float32)
    detail = _warp(frame, resize(flow) * scale.astype(np.float32))
    detail = cv2.multiply(detail, cv2.merge([resize(similarity)] * 3))
    return EnlargedFace(cv2.add(resize(rest, cv2.INTER_CUBIC), detail), resize(mask), part)


def _region(mask: np.ndarray) -> tuple[slice, slice]:
    """Returns the rows and columns of a crop where the mask is not 0, and a margin."""
    left, top, width, height = cv2.boundingRect((mask > 0).astype(np.uint8))
    rows, columns = mask.shape
    return (
        slice(max(0, top - _MARGIN), min(rows, top + height + _MARGIN)),
        slice(max(0, left - _MARGIN), min(columns, left + width + _MARGIN)),
    )


def _warp_to(generated: np.ndarray, original: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Warps the frame's crop to the generated face, both (rows, columns, 3).

    Returns:
        float32 (rows, columns, 3), the crop; and float32 (rows, columns, 2), how far to the right
        and down each of its pixels comes from, in pixels.
    """
    grey = [
        cv2.cvtColor(np.clip(face, 0, 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
        for face in (generated, original)
    ]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = search.calc(grey[0], grey[1], None)  # type: ignore[call-overload]  # None: no guess
    return _warp(original.astype(np.float32), flow, cv2.INTER_LINEAR), flow


def _warp(image: np.ndarray, flow: np.ndarray, interpolation: int = cv2.INTER_CUBIC) -> np.ndarray:
    """Samples an image at each of its pixels plus the flow; beyond it, edge pixels repeat."""
    rows, columns = image.shape[:2]
    x = flow[..., 0] + np.arange(columns, dtype=np.float32)
    y = flow[..., 1] + np.arange(rows, dtype=np.float32)[:, None]
    return cv2.remap(image, x, y, interpolation, borderMode=cv2.BORDER_REPLICATE)
