"""Detail of the frame in a generated face of fewer pixels: pores, stubble, edges of the lips.

A network generates a face of e.g. 96 pixels; enlarged to a frame's 400, it is soft. Most of the
missing detail is in the frame, only elsewhere, as lips and chin have moved. Optical flow from the
generated face to the frame's crop, at the network's size, tells where. The frame's detail, all that
the crop has not, is warped by this flow and added where the warped crop looks like the generated
face. Where it does not, as inside a mouth that has opened, none is added.

This works with every network, as it needs nothing but the generated face.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from lipsync_jax.media.planar import Image, PlanarImage, Planes
from lipsync_jax.synthesis import blending

MIN_SCALE = 1.1  # pixels of the frame per pixel of the crop; below, a crop has all the detail
_MARGIN = 8  # pixels of the crop around the mask, from where detail may move into it
_TOLERANCE = 20.0  # levels by which warped and generated pixels differ where 1/e of it is added
_SIGMA = 0.7  # pixels of the crop, over which these differences are averaged


def blend(
    image: Image,
    patch: np.ndarray,
    original: np.ndarray,
    mask: np.ndarray,
    box: np.ndarray,
    sharpened: np.ndarray,
) -> Image | None:
    """Blends a generated face into its frame, with the frame's detail.

    Args:
        image: the frame, uint8 RGB (height, width, 3) or in planes, in which it stays.
        patch: float32 RGB (size, size, 3), the generated face, values of 0 to 255.
        original: uint8 RGB (size, size, 3), the frame's crop.
        mask: float32 (size, size), with which the patch is blended; 0 in the upper half.
        box: (4,), the crop's box in the frame.
        sharpened: float32 RGB (size, size, 3), the same face, to be shown where the frame has no
            detail of it.

    Returns:
        A new image; None where the frame has hardly more pixels than the crop, or the mask is 0.
    """
    size, corner = len(patch), np.asarray(box, np.float64)[:2]
    sides = np.asarray(box)[2:] - corner
    if sides.min() < MIN_SCALE * size or not mask.any():
        return None
    region = _region(mask)
    patch, original, mask, sharpened = (x[region] for x in (patch, original, mask, sharpened))
    bounds = np.array([(s.start, s.stop) for s in region[::-1]]).T / size
    part = (corner + bounds * sides).ravel()
    moved, flow = _warp_to(patch, original)
    difference = cv2.GaussianBlur(np.abs(patch - moved).mean(-1), (0, 0), _SIGMA)
    difference /= np.float32(_TOLERANCE)
    similarity = np.exp(-difference * difference)
    if isinstance(image, PlanarImage):
        patch, moved, sharpened = map(image.from_rgb, (patch, moved, sharpened))
    # Sharpening shows a network's ripples on skin, which has the frame's detail instead.
    rest = sharpened + similarity[..., None] * (patch - sharpened - moved)

    def change(planes: Planes, values: Planes, factor: float, offset: np.ndarray) -> Planes:
        place, shape = part * factor + np.tile(offset, 2), planes[0].shape[:2]
        # All alike: the similarity has to cancel what `rest` lacks, most of all of the chroma.
        channels = [*values, *cv2.split(flow), similarity]
        local = blending.resample(channels, mask, place, shape, cubic=True)
        if local is None:
            return planes
        *rests, across, down, weight = local.channels
        scale = (place[2:] - place[:2]) / mask.shape[::-1]
        x, y = _places((across, down), scale.tolist(), local.corner)
        news = rests if len(rests) == len(planes) else [cv2.merge(rests)]  # of an RGB image
        changed = []
        for plane, new in zip(planes, news, strict=True):
            detail = cv2.remap(plane, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            new = cv2.add(new, blending.weighted(detail, weight))
            changed.append(blending.mix(plane, new, local.weight, local.corner))
        return changed

    if isinstance(image, PlanarImage):
        return image.changed(rest, change)
    return change([image], cv2.split(rest), 1.0, np.zeros(2))[0]


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
    x, y = _places(cv2.split(flow))
    moved = cv2.remap(
        original.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return moved, flow


def _places(
    flow: Sequence[np.ndarray],
    scale: Sequence[float] = (1.0, 1.0),
    corner: tuple[int, int] = (0, 0),
) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the pixels of a part of an image come from, for `cv2.remap`.

    Args:
        flow: float32 (rows, columns) to the right, and down.
        scale: pixels of the image per unit of the flow, likewise.
        corner: first row and column of the part in the image.
    """
    rows, columns = flow[0].shape
    (across, down), (top, left) = scale, corner
    x = flow[0] * np.float32(across) + np.arange(left, left + columns, dtype=np.float32)
    y = flow[1] * np.float32(down) + np.arange(top, top + rows, dtype=np.float32)[:, None]
    return x, y
