"""Frequency domain blurriness measure."""

import numpy as np


def fdbm(grey: np.ndarray) -> np.ndarray:
    """Share of Fourier components above a thousandth of the greatest (De & Masilamani 2013).

    F = fft2(I), FDBM = #{|F| > max|F| / 1000} / pixels. Larger is sharper; noise counts as sharp.
    It doesn't depend on the scale of values but on the picture's size, so crops must be alike. The
    greatest component is usually the mean, so it grows when a picture is made darker by a constant.

    Args:
        grey: (..., height, width), luminance, on any scale.

    Returns:
        float64 (...), between 0 and 1.

    Raises:
        ValueError: not pictures.
    """
    if grey.ndim < 2 or not grey.size:
        raise ValueError(f"FDBM is of grey pictures (..., height, width), not of {grey.shape}")
    magnitude = np.abs(np.fft.fft2(np.asarray(grey, np.float64)))
    greatest = magnitude.max(axis=(-2, -1), keepdims=True)
    return (magnitude > greatest / 1000).mean(axis=(-2, -1))
