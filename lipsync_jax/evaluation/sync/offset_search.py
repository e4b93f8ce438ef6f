"""The offset search of SyncNet's released code, which LSE-D and LSE-C come from.

Audio offsets are positive where the audio is later than the video. (The released code reports the
opposite sign: how much later the audio has to be moved.)
"""

from typing import NamedTuple

import numpy as np


class Offset(NamedTuple):
    """The result of `offset_search`.

    Attributes:
        offset: frames by which the audio is later than the video; negative where it is earlier.
        distance: mean distance at that offset (LSE-D, with the released weights).
        confidence: median over offsets of the mean distance, minus the smallest (LSE-C).
        distances: (2 * max_offset + 1,), mean distance at offsets of -max_offset to max_offset.
        frame_confidence: (windows,), confidence of each window, median filtered over 9 windows.
    """

    offset: int
    distance: float
    confidence: float
    distances: np.ndarray
    frame_confidence: np.ndarray


def offset_search(
    video_embeddings: np.ndarray, audio_embeddings: np.ndarray, max_offset: int = 15
) -> Offset:
    """Finds the offset with the smallest mean distance (Chung & Zisserman 2016, section 4.1).

    Offsets beyond the ends of the audio compare with zeros, as the released code does, so short
    clips favour no offset. `offset.measure` compares with existing audio only.

    Args:
        video_embeddings: (windows, d), windows one frame apart.
        audio_embeddings: (windows, d), of the audio at the times of these windows.
        max_offset: largest offset to try, frames, both ways.

    Raises:
        ValueError: the shapes differ, or there is no window.
    """
    video, audio = np.asarray(video_embeddings), np.asarray(audio_embeddings)
    if video.shape != audio.shape or video.ndim != 2 or not len(video):
        raise ValueError(
            f"video embeddings {video.shape} and audio embeddings {audio.shape} must both be "
            "(windows, d)"
        )
    import scipy.signal  # here: slow to import, and not needed by the report of dubbing

    padded = np.pad(audio, ((max_offset, max_offset), (0, 0)))
    distances = np.stack(
        [
            # The released code's pairwise distance adds 1e-6 to every difference.
            np.linalg.norm(video - padded[k : k + len(video)] + 1e-6, axis=1)
            for k in range(2 * max_offset + 1)
        ],
        axis=1,
    )
    mean = distances.mean(axis=0)
    best = int(np.argmin(mean))
    median = np.median(mean)
    return Offset(
        offset=best - max_offset,
        distance=float(mean[best]),
        confidence=float(median - mean[best]),
        distances=mean,
        frame_confidence=scipy.signal.medfilt(median - distances[:, best], 9),
    )
