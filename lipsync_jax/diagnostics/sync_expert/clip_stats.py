"""Clips of a data set as series of 25 moments a second: how the lips look, how it sounds."""

import dataclasses
import hashlib
import logging
from collections.abc import Sequence

import cv2
import numpy as np
import scipy.ndimage

from lipsync_jax.data import windows
from lipsync_jax.data.clip import Clip, decode_frames
from lipsync_jax.data.feature_cache import MelCache
from lipsync_jax.data.loader import Source

RATE = 25  # moments a second
CLIPS = 48  # looked at; more clips say little more
_SECONDS = 5  # looked at of each clip
_WIDTH, _HEIGHT = 24, 12  # pixels that the lower half is reduced to

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Observed:
    """A clip.

    Attributes:
        clip: itself.
        lips: float32 (moments, 288), grey values 0..255 of the reduced lower half of the face.
        sound: float32 (moments, 80), mel averaged over the 50 ms at each moment.
        speech: share of frames with speech.
        fingerprint: equal for equal pictures and sound.
    """

    clip: Clip
    lips: np.ndarray
    sound: np.ndarray
    speech: float
    fingerprint: str

    @property
    def motion(self) -> float:
        """Mean change of the lower half from one moment to the next, in grey values of 255."""
        return float(np.abs(np.diff(self.lips, axis=0)).mean()) if len(self.lips) > 1 else 0.0


def observe(clips: Source, count: int = CLIPS) -> list[Observed]:
    """Looks at `count` clips, evenly spread over a split.

    Raises:
        ValueError: a record or a frame can't be read; names the clip.
    """
    chosen = np.unique(np.linspace(0, len(clips) - 1, count).astype(int))
    log.info("looking at %d of %d training clips", len(chosen), len(clips))
    mels = MelCache()
    return [_observe(clips[int(index)], mels) for index in chosen]


def _observe(clip: Clip, mels: MelCache) -> Observed:
    moments = np.arange(min(int(clip.duration * RATE), _SECONDS * RATE))
    frames = np.array([int(int(n) * clip.frame_rate // RATE) for n in moments], np.int64)
    pictures: Sequence[np.ndarray] | np.ndarray
    pictures = decode_frames(clip, range(frames[-1] + 1))[frames] if len(frames) else []
    lips = [_reduce(picture) for picture in pictures]
    try:
        mel, speech = mels.mel(clip), mels.speech(clip)
    except ValueError as error:
        raise ValueError(f"clip {clip.clip_id} has unusable sound: {error}") from error
    # From one column before a moment to two after it: the middle of the time its frame is shown.
    columns = scipy.ndimage.uniform_filter1d(mel, 4, axis=0, origin=-1, mode="nearest")
    # Clips whose sound ends before the picture: the last column stands for what is missing.
    starts = np.minimum(windows.mel_window_start(moments, RATE), len(columns) - 1)
    digest = hashlib.sha256(clip.audio.tobytes())
    for frame in clip.frames:
        digest.update(frame)
    return Observed(
        clip,
        np.array(lips, np.float32).reshape(len(moments), -1),
        columns[starts],
        float(np.mean(speech)) if len(speech) else 0.0,
        digest.hexdigest(),
    )


def _reduce(picture: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(picture[len(picture) // 2 :], cv2.COLOR_BGR2GRAY)
    return cv2.resize(grey, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA).ravel()
