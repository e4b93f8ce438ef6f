"""Unsharp masking of generated faces up to the sharpness of the frame's face, averaged over time.

Generators blur. The detail of luminance (the difference to a Gaussian blur of a few pixels) is
amplified until its energy equals that of the original crop's detail under the mask: a soft source
stays soft, and a generated face that is sharp already stays unchanged.
"""

import math

import cv2
import numpy as np

from lipsync_jax.faces.temporal import past_weight

SIGMA = 1.6  # pixels of a generated face
MAX_GAIN = 2.5  # largest amplification of detail; a larger one would make noise visible
_EDGE_LEVEL = 1.5  # levels; weaker detail, such as a network's ripples on skin, is amplified less
_TIME_CONSTANT = 1.0  # seconds after which the weight of a frame is 1/e


class Sharpener:
    """Sharpens one face through a video; deterministic, of constant memory.

    Attributes:
        gain: amplification of the last frame's detail, 1 to `MAX_GAIN`.
    """

    def __init__(self) -> None:
        self._energies = np.zeros(2)  # of the generated and the original detail, weighted sums
        self._seconds, self.gain = -math.inf, 1.0

    def __call__(
        self, patch: np.ndarray, original: np.ndarray, mask: np.ndarray, seconds: float
    ) -> np.ndarray:
        """Sharpens the next frame's face.

        Args:
            patch: float32 RGB (size, size, 3), values of 0 to 255.
            original: the frame's crop, uint8 RGB (size, size, 3).
            mask: float32 (size, size), with which the patch is blended.
            seconds: time at which the frame is shown. A step backwards, or one of more than half a
                second, restarts the temporal average.

        Returns:
            float32 RGB (size, size, 3), not clipped.
        """
        details = [_detail(patch), _detail(original.astype(np.float32))]
        energies = np.array([float((d * d).ravel() @ mask.ravel()) for d in details])
        energies += self._energies * past_weight(seconds - self._seconds, _TIME_CONSTANT)
        self._energies, self._seconds = energies, seconds
        ratio = energies[1] / max(float(energies[0]), 1e-6)
        self.gain = min(max(math.sqrt(ratio), 1.0), MAX_GAIN)
        square = details[0] * details[0]
        edges = details[0] * (square / (square + np.float32(_EDGE_LEVEL**2)))
        return cv2.scaleAdd(cv2.merge([edges] * 3), self.gain - 1, patch)


def _detail(rgb: np.ndarray) -> np.ndarray:
    luminance = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return luminance - cv2.GaussianBlur(luminance, (0, 0), SIGMA)
