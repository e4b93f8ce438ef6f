"""Luminance of colour images, for the sharpness metrics and SSIM of luminance."""

import numpy as np

from lipsync_jax.ops.luminance import BGR_WEIGHTS, RGB_WEIGHTS


def luminance(images: np.ndarray, order: str = "bgr") -> np.ndarray:
    """Computes luminance 0.299·R + 0.587·G + 0.114·B (ITU-R BT.601) of gamma-coded values.

    Args:
        images: (..., height, width, 3), on any scale.
        order: of the channels, `bgr` or `rgb`.

    Returns:
        float32 (..., height, width), on the images' scale.

    Raises:
        ValueError: there is no such order, or not three channels.
    """
    if order not in ("bgr", "rgb") or images.shape[-1] != 3:
        raise ValueError(
            f"luminance takes (..., 3) images in the order 'bgr' or 'rgb', not "
            f"{images.shape} in {order!r}"
        )
    weights = BGR_WEIGHTS if order == "bgr" else RGB_WEIGHTS
    return np.asarray(images, np.float32) @ np.array(weights, np.float32)
