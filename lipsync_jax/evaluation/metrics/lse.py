"""LSE-D and LSE-C: lip-sync error, distance and confidence.

The audio offset is positive where the audio is later than the video.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Num

from lipsync_jax.evaluation.sync.offset_search import offset_search

MAX_OFFSET = 15  # frames, both ways


class Lse(NamedTuple):
    """Lip-sync error of a clip.

    Attributes:
        distance: LSE-D, lower is better; real videos have about 7.
        confidence: LSE-C, higher is better; real videos have about 7.
        offset: frames of 25 a second by which the audio is later than the video. (The released code
            reports the opposite sign.)
    """

    distance: float
    confidence: float
    offset: int


def lse(
    video_embeddings: Num[np.ndarray, "video d"],
    audio_embeddings: Num[np.ndarray, "audio d"],
    max_offset: int = MAX_OFFSET,
) -> Lse:
    """Computes LSE-D and LSE-C (Prajwal et al. 2020, section 4) from embeddings of SyncNet v2.

    m(k) = mean over windows i of ‖lips(i) − audio(i + k) + 1e-6‖₂ for k of -15 to 15 frames;
    LSE-D = min m, LSE-C = median m − min m. The embeddings must be those of the released weights
    of SyncNet v2 (Chung & Zisserman 2016): with any other network the result is not LSE, and not
    comparable with published values. Beyond the ends of a clip the audio embedding is zero, as in
    the released code, so values of clips of different lengths are not quite comparable. A data
    set's value is the mean over its clips.

    Args:
        video_embeddings: (windows, 1024), windows of 5 frames, one frame apart, at 25 frames a
            second.
        audio_embeddings: (windows, 1024), of the audio at the times of these windows.
        max_offset: largest offset to try, frames, both ways.

    Raises:
        ValueError: the shapes differ, or there is no window.
    """
    found = offset_search(video_embeddings, audio_embeddings, max_offset)
    return Lse(found.distance, found.confidence, found.offset)
