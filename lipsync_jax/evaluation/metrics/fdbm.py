"""Frequency domain blurriness measure."""

import numpy as np
from jaxtyping import Float, Num


def fdbm(grey: Num[np.ndarray, "*n height width"]) -> Float[np.ndarray, "*n"]:
    """Computes FDBM, the fraction of Fourier components above a threshold (De & Masilamani 2013).

    F = fft2(I), FDBM = #{|F| > max|F| / 1000} / pixels. Higher is sharper; noise counts as sharp.
    FDBM is invariant to the scale of values but depends on the image's size, so crops must be
    equal. The greatest component is usually the mean, so FDBM grows when a constant is subtracted.

    Args:
        grey: (..., height, width), luminance, on any scale.

    Returns:
        float64 (...), between 0 and 1.

    Raises:
        ValueError: the array is not of images.
    """
    if grey.ndim < 2 or not grey.size:
        raise ValueError(f"FDBM takes grey images (..., height, width), not {grey.shape}")
    magnitude = np.abs(np.fft.fft2(np.asarray(grey, np.float64)))
    greatest = magnitude.max(axis=(-2, -1), keepdims=True)
    return (magnitude > greatest / 1000).mean(axis=(-2, -1))
