"""Mouth regions of face crops: one definition for every network, loss and metric."""

from typing import NamedTuple, TypeVar

import jax
import numpy as np

Images = TypeVar("Images", np.ndarray, jax.Array)


class Region(NamedTuple):
    """A rectangle of a face crop, from its upper left corner, in fractions of the crop's sides.

    Attributes:
        top: of the height.
        bottom: of the height.
        left: of the width.
        right: of the width.
    """

    top: float
    bottom: float
    left: float
    right: float

    def slices(self, height: int, width: int) -> tuple[slice, slice]:
        """Returns the rows and columns of the region, rounded to whole pixels.

        Args:
            height: of the crop, pixels.
            width: of the crop, pixels.
        """
        rows = slice(round(self.top * height), round(self.bottom * height))
        return rows, slice(round(self.left * width), round(self.right * width))


# Of box crops such as `face96`, which extend below the chin (`boxes.CHIN_MARGIN`).
MOUTH_FACE96 = Region(0.55, 0.95, 0.25, 0.75)
# Of aligned crops such as `aligned128x96` (`alignment.CANONICAL_FACE`).
MOUTH_ALIGNED = Region(0.58, 0.84, 0.27, 0.77)
# Of box crops, with room for the jaw: the input of the lip reader, and of the mouth's optical flow.
MOUTH_LIP_READING = Region(0.5, 1.0, 1 / 6, 5 / 6)
MOUTH_FLOW = Region(0.5, 1.0, 0.2, 0.8)


def crop_mouth(images: Images, region: Region) -> Images:
    """Crops images to a region.

    Args:
        images: (..., height, width, channels), NumPy or JAX.
        region: of the crop that the images have.

    Returns:
        (..., rows, columns, channels), of the images' type.
    """
    rows, columns = region.slices(*images.shape[-3:-1])
    return images[..., rows, columns, :]
