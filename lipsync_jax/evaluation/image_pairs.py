"""Metrics of pairs of images, computed in batches of one size."""

from collections.abc import Callable

import jax
import numpy as np

from lipsync_jax.evaluation.metrics.psnr import psnr
from lipsync_jax.evaluation.metrics.ssim import ssim

_BATCH_SIZE = 25  # frames a batch: one compiled program for clips of all lengths
_MAX_PSNR = 100.0  # decibels of identical frames


def psnr_and_ssim(a: np.ndarray, b: np.ndarray, ssim_window: str) -> dict[str, float]:
    """Computes means of `psnr` and `ssim` over pairs.

    Args:
        a: uint8 (n, size, size, 3), n at least 1.
        b: of equal shape.
        ssim_window: see `ssim.WINDOWS`.
    """
    ssim_values = map_batches(lambda x, y: ssim(x, y, 255, ssim_window), a, b)
    psnr_values = np.minimum(map_batches(lambda x, y: psnr(x, y, 255), a, b), _MAX_PSNR)
    return {"psnr": float(psnr_values.mean()), "ssim": float(ssim_values.mean())}


def map_batches(
    metric: Callable[..., jax.Array | np.ndarray], a: np.ndarray, b: np.ndarray
) -> np.ndarray:
    """Computes a metric of image pairs, (n, ...) -> (n,), in padded batches."""
    missing = [(0, -len(a) % _BATCH_SIZE), (0, 0), (0, 0), (0, 0)]
    a, b = (np.pad(x, missing) for x in (a, b))
    parts = [
        metric(a[i : i + _BATCH_SIZE], b[i : i + _BATCH_SIZE])
        for i in range(0, len(a), _BATCH_SIZE)
    ]
    found = np.concatenate([np.asarray(part, np.float64) for part in parts])
    return found[: len(found) - missing[0][1]]
