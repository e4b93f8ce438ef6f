"""Colour pictures to luminance, as the sharpness metrics and classic SSIM see them."""

import numpy as np

_BGR = (0.114, 0.587, 0.299)  # ITU-R BT.601


def luminance(pictures: np.ndarray, order: str = "bgr") -> np.ndarray:
    """Luminance 0.299·R + 0.587·G + 0.114·B (ITU-R BT.601), of gamma-coded values as they are.

    Args:
        pictures: (..., height, width, 3), on any scale.
        order: of their channels, `bgr` or `rgb`.

    Returns:
        float32 (..., height, width), on the same scale.

    Raises:
        ValueError: no such order, or not three channels.
    """
    if order not in ("bgr", "rgb") or pictures.shape[-1] != 3:
        raise ValueError(
            f"luminance is of (..., 3) pictures in the order 'bgr' or 'rgb', not of "
            f"{pictures.shape} in {order!r}"
        )
    weights = _BGR if order == "bgr" else _BGR[::-1]
    return np.asarray(pictures, np.float32) @ np.array(weights, np.float32)
