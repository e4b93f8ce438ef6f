"""Statistics of clips: series of lip images and mel features at 25 moments a second."""

import dataclasses
import hashlib
import logging
from collections.abc import Sequence

import cv2
import numpy as np
import scipy.ndimage

from lipsync_jax.data import windows
from lipsync_jax.data.clip import Clip, decode_frames
from lipsync_jax.data.feature_cache import FeatureCache
from lipsync_jax.data.loader import DataSource

RATE = 25  # moments a second
MAX_CLIPS = 48  # inspected; more clips add little
_SECONDS = 5  # inspected of each clip
_WIDTH, _HEIGHT = 24, 12  # pixels of the reduced lower half

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ClipStats:
    """Statistics of one clip.

    Attributes:
        clip: the clip.
        lips: float32 (moments, 288), grey values 0..255 of the reduced lower half of the face.
        audio: float32 (moments, 80), mel averaged over the 50 ms at each moment.
        speech: fraction of frames with speech.
        fingerprint: equal for equal video and audio.
    """

    clip: Clip
    lips: np.ndarray
    audio: np.ndarray
    speech: float
    fingerprint: str

    @property
    def motion(self) -> float:
        """Returns the mean change of the lower half between moments, in grey values of 255."""
        return float(np.abs(np.diff(self.lips, axis=0)).mean()) if len(self.lips) > 1 else 0.0


def compute_clip_stats(clips: DataSource, count: int = MAX_CLIPS) -> list[ClipStats]:
    """Computes the statistics of `count` clips, evenly spread over a split.

    Raises:
        ValueError: a record or a frame can't be read; names the clip.
    """
    indices = np.unique(np.linspace(0, len(clips) - 1, count).astype(int))
    log.info("inspecting %d of %d training clips", len(indices), len(clips))
    features = FeatureCache()
    return [_compute_clip_stats(clips[int(index)], features) for index in indices]


def _compute_clip_stats(clip: Clip, features: FeatureCache) -> ClipStats:
    moments = np.arange(min(int(clip.duration * RATE), _SECONDS * RATE))
    frames = np.array([int(int(n) * clip.frame_rate // RATE) for n in moments], np.int64)
    images: Sequence[np.ndarray] | np.ndarray
    images = decode_frames(clip, range(frames[-1] + 1))[frames] if len(frames) else []
    lips = [_reduce(image) for image in images]
    try:
        mel, speech = features.mel(clip), features.speech_activity(clip)
    except ValueError as error:
        raise ValueError(f"clip {clip.clip_id} has unusable audio: {error}") from error
    # From one column before a moment to two after: centred on the time the frame is shown.
    columns = scipy.ndimage.uniform_filter1d(mel, 4, axis=0, origin=-1, mode="nearest")
    # Where the audio ends before the video, the last column repeats.
    starts = np.minimum(windows.mel_window_start(moments, RATE), len(columns) - 1)
    digest = hashlib.sha256(clip.audio.tobytes())
    for frame in clip.frames:
        digest.update(frame)
    return ClipStats(
        clip,
        np.array(lips, np.float32).reshape(len(moments), -1),
        columns[starts],
        float(np.mean(speech)) if len(speech) else 0.0,
        digest.hexdigest(),
    )


def _reduce(image: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(image[len(image) // 2 :], cv2.COLOR_BGR2GRAY)
    return cv2.resize(grey, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA).ravel()
