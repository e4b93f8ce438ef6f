"""LSE-D and LSE-C: lip-sync error, distance and confidence."""

from typing import NamedTuple

import numpy as np

from lipsync_jax.methods.syncnet.model import offset_search

SHIFT = 15  # frames either way


class Lse(NamedTuple):
    """What SyncNet says of a clip.

    Attributes:
        distance: LSE-D, smaller is better; real videos have about 7.
        confidence: LSE-C, larger is better; real videos have about 7.
        offset: frames of 25 a second by which the sound comes before the picture.
    """

    distance: float
    confidence: float
    offset: int


def lse(lips: np.ndarray, audio: np.ndarray, shift: int = SHIFT) -> Lse:
    """LSE-D and LSE-C (Prajwal et al. 2020, section 4), of embeddings of SyncNet v2.

    m(k) = mean over windows i of ‖lips(i) − audio(i + k) + 1e-6‖₂ for shifts k of -15 to 15 frames;
    LSE-D = min m, LSE-C = median m − min m. The embeddings must be those of the released weights
    of SyncNet v2 (Chung & Zisserman 2016): of any other network the same arithmetic gives numbers
    that can't be compared with published ones, and is not LSE. Beyond the ends of a clip the sound
    is a zero vector, as in the released code, so the figures of clips of different lengths aren't
    quite comparable. A data set's figure is the mean over its clips.

    Args:
        lips: (windows, 1024), windows of 5 frames, one frame apart, at 25 frames a second.
        audio: (windows, 1024), of the sound at the same times.
        shift: frames to try either way.

    Raises:
        ValueError: shapes differ or there is no window.
    """
    found = offset_search(lips, audio, shift)
    return Lse(found.distance, found.confidence, found.offset)
