"""A cache of the audio features of the clips used last."""

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from lipsync_jax.data.audio_features import MEL, AudioFeatureSpec
from lipsync_jax.data.clip import Clip
from lipsync_jax.media import audio


class FeatureCache:
    """Computes and keeps features and speech activity of the clips used last; thread-safe.

    Args:
        capacity: number of clips; features of three seconds take 77 kB.
    """

    def __init__(self, capacity: int = 1024) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[tuple[str, str], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def mel(self, clip: Clip) -> np.ndarray:
        """Returns Wav2Lip's mel spectrogram, float32 (columns, 80); column c is at c / 80 s."""
        return self.features(clip, MEL)

    def features(self, clip: Clip, spec: AudioFeatureSpec) -> np.ndarray:
        """Returns audio features of a clip, (columns, bins)."""
        return self._get(spec.name, clip, lambda: spec.compute(clip.samples(audio.SAMPLE_RATE)))

    def speech_activity(self, clip: Clip) -> np.ndarray:
        """Returns which frames have speech, bool (frames,)."""
        return self._get(
            "speech",
            clip,
            lambda: audio.speech_activity(
                clip.samples(audio.SAMPLE_RATE),
                audio.SAMPLE_RATE,
                clip.frame_rate,
                len(clip.frames),
            ),
        )

    def _get(self, feature: str, clip: Clip, compute: Callable[[], np.ndarray]) -> np.ndarray:
        key = (feature, clip.clip_id)
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        value = compute()
        with self._lock:
            self._entries[key] = value
            if len(self._entries) > 2 * self._capacity:  # two features a clip
                self._entries.popitem(last=False)
        return value
