"""Windows of clips as At a Glance is trained and evaluated on (Chen et al. 2018, section 5.1)."""

from typing import NamedTuple

import numpy as np

from lipsync_jax.evaluation import image_pairs
from lipsync_jax.evaluation.metrics import lmd
from lipsync_jax.evaluation.protocol import Protocol

WINDOW_FRAMES, WINDOW_HOP = 16, 8  # frames of a window, and between the starts of two


class WindowFeatures(NamedTuple):
    """What metrics need of a clip's windows, one after the other.

    Attributes:
        faces: uint8 (windows, 16, size, size, 3) BGR.
        landmarks: float32 (windows, 16, 68, 2), as in `ClipFeatures`; None without landmarks.
    """

    faces: np.ndarray
    landmarks: np.ndarray | None

    def first(self, count: int) -> "WindowFeatures":
        """Returns the first windows."""
        return WindowFeatures(
            self.faces[:count], None if self.landmarks is None else self.landmarks[:count]
        )


def window_indices(frames: int) -> np.ndarray:
    """Returns the frames of each window, int64 (windows, 16); frames after the last are left out.

    Args:
        frames: length of the clip.
    """
    starts = np.arange(0, frames - WINDOW_FRAMES + 1, WINDOW_HOP)
    return starts[:, None] + np.arange(WINDOW_FRAMES)


def window_metrics(
    generated: WindowFeatures, reference: WindowFeatures, protocol: Protocol
) -> dict[str, float]:
    """Computes metrics over all frames of all windows; a frame counts in each of its windows.

    Without a window there are none.
    """
    count = min(len(generated.faces), len(reference.faces))
    if not count:
        return {}
    generated, reference = generated.first(count), reference.first(count)
    a, b = (x.faces.reshape(-1, *x.faces.shape[2:]) for x in (generated, reference))
    found = image_pairs.psnr_and_ssim(a, b, protocol.ssim_window)
    metrics = {f"{name}_windows": value for name, value in found.items()}
    if generated.landmarks is not None and reference.landmarks is not None:
        real, fake = (
            x.reshape(-1, 68, 2)[:, lmd.MOUTH] for x in (reference.landmarks, generated.landmarks)
        )
        metrics["lmd_windows"] = lmd.lmd(real, fake, protocol.lmd_variant).value
    return metrics


def mean_or_nan(values: np.ndarray) -> float:
    """Returns the mean; NaN of no values."""
    return float(values.mean()) if values.size else float("nan")
