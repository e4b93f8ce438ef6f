"""Audio features of clips, computed once and kept while memory allows."""

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from lipsync_jax.data.audio_features import MEL, Spectrum
from lipsync_jax.data.clip import Clip
from lipsync_jax.media import audio


class MelCache:
    """Spectra and speech activity of the clips used last. Safe for threads.

    Args:
        capacity: clips kept; three seconds of speech take 77 kB.
    """

    def __init__(self, capacity: int = 1024) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[tuple[str, str], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def mel(self, clip: Clip) -> np.ndarray:
        """Wav2Lip's mel spectrogram, float32 (columns, 80); column c is centred on c / 80 s."""
        return self.spectrum(clip, MEL)

    def spectrum(self, clip: Clip, kind: Spectrum) -> np.ndarray:
        """A spectrum of the clip's sound, (columns, bins)."""
        return self._get(kind.name, clip, lambda: kind.compute(clip.samples(audio.SAMPLE_RATE)))

    def speech(self, clip: Clip) -> np.ndarray:
        """Which frames have speech, bool (frames,)."""
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

    def _get(self, kind: str, clip: Clip, compute: Callable[[], np.ndarray]) -> np.ndarray:
        key = (kind, clip.clip_id)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = compute()
        with self._lock:
            self._kept[key] = value
            if len(self._kept) > 2 * self._capacity:  # two kinds a clip
                self._kept.popitem(last=False)
        return value
