"""Cumulative probability of blur detection."""

import numpy as np
from jaxtyping import Float, Num

from lipsync_jax.evaluation.metrics import edges

_BLOCK = 64  # pixels
_MIN_EDGE_FRACTION = 0.002  # of a block's pixels; blocks with fewer edge pixels are skipped
_JUST_NOTICEABLE = (5, 3)  # pixels of edge width, at contrasts up to 50 and above
_BETA = 3.6


def cpbd(grey: Num[np.ndarray, "*n height width"]) -> Float[np.ndarray, "*n"]:
    """Computes CPBD, the fraction of edges without visible blur (Narvekar & Karam 2011, eq. 6).

    In each block of 64 x 64 with more than 0.2 % edge pixels (Canny), every near-vertical edge of
    width w is blurred with the probability P = 1 − exp(−(w / w_jnb)^3.6), w_jnb = 5 pixels where
    the block's contrast is at most 50 and else 3; CPBD is the fraction of edges with P at most
    63 %, rounded to whole percents; higher is sharper. Rows and columns beyond the last whole block
    are ignored, so an image below 64 x 64 scores 0, as do images without an edge. Noise counts as
    sharp.

    Args:
        grey: (..., height, width), luminance from 0 to 255.

    Returns:
        float64 (...), between 0 and 1.

    Raises:
        ValueError: the array is not of images.
    """
    if grey.ndim < 2 or not grey.size:
        raise ValueError(f"CPBD takes grey images (..., height, width), not {grey.shape}")
    images = np.asarray(grey, np.float64).reshape(-1, *grey.shape[-2:])
    return np.array([_cpbd_of_image(image) for image in images]).reshape(grey.shape[:-2])


def _cpbd_of_image(grey: np.ndarray) -> float:
    outline = edges.canny(grey)
    widths = edges.widths(grey, edges.vertical_edges(grey))
    percents: list[np.ndarray] = []
    for top in range(0, grey.shape[0] - _BLOCK + 1, _BLOCK):
        for left in range(0, grey.shape[1] - _BLOCK + 1, _BLOCK):
            block = slice(top, top + _BLOCK), slice(left, left + _BLOCK)
            if outline[block].sum() <= _MIN_EDGE_FRACTION * _BLOCK**2:
                continue
            contrast = int(grey[block].max() - grey[block].min())
            noticeable = _JUST_NOTICEABLE[contrast > 50]
            wide = widths[block]
            blurred = 1 - np.exp(-((wide[wide > 0] / noticeable) ** _BETA))
            percents.append(np.rint(100 * blurred))
    counted = np.concatenate(percents) if percents else np.zeros(0)
    return float((counted <= 63).mean()) if len(counted) else 0.0
