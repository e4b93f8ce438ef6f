"""Audio features of clips: stored with the clip, or computed and kept for the clips used last."""

import dataclasses
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping

import numpy as np

from lipsync_jax.data.audio_features import MEL, MFCC, AudioFeatureSpec
from lipsync_jax.data.clip import Clip
from lipsync_jax.data.clip_record import empty_array
from lipsync_jax.media import audio, speech_activity
from lipsync_jax.types import Untyped

_SPEECH = "speech_activity"


class ClipWithFeatures(Clip):
    """A clip with audio features, which preparation computes long before it writes them."""

    features: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, clip: Clip, features: Mapping[str, np.ndarray]) -> "ClipWithFeatures":
        """Returns a clip with the features of `compute_features`."""
        fields = {field.name: getattr(clip, field.name) for field in dataclasses.fields(Clip)}
        made = cls(**fields)
        object.__setattr__(made, "features", features)
        return made

    def stored_features(self, name: str) -> np.ndarray | None:
        """See Clip."""
        return self.features.get(name)


def compute_features(clip: Clip) -> dict[str, np.ndarray]:
    """Computes the audio features that are stored with a clip, or returns those it has.

    Returns:
        mel: float32 (columns, 80).
        mfcc: float32 (steps, 12).
        speech_activity: uint8 (frames,).
        Each is empty where the clip's audio is too short for it.
    """
    if isinstance(clip, ClipWithFeatures):
        return dict(clip.features)
    samples = clip.samples(audio.SAMPLE_RATE)
    compute: dict[str, Callable[[], np.ndarray]] = {
        "mel": lambda: MEL.compute(samples),
        "mfcc": lambda: MFCC.compute(samples),
        _SPEECH: lambda: _speech_activity(clip, samples).astype(np.uint8),
    }
    features: dict[str, np.ndarray] = {}
    for name, function in compute.items():
        try:
            features[name] = function()
        except ValueError:  # one clip must not end a preparation; training names the clip
            features[name] = empty_array(name)
    return features


class FeatureCache:
    """Returns features and speech activity of clips; thread-safe.

    What a clip's data set does not store is computed, and kept for the clips used last.

    Args:
        capacity: number of clips; features of three seconds take 77 kB.
    """

    def __init__(self, capacity: int = 1024) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[tuple[str | int, ...], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Untyped]:
        return {"_capacity": self._capacity}

    def __setstate__(self, state: dict[str, Untyped]) -> None:
        self.__init__(state["_capacity"])  # type: ignore[misc]  # each process has its own entries

    def mel(self, clip: Clip) -> np.ndarray:
        """Returns Wav2Lip's mel spectrogram, float32 (columns, 80); column c is at c / 80 s."""
        return self.features(clip, MEL)

    def features(self, clip: Clip, spec: AudioFeatureSpec) -> np.ndarray:
        """Returns audio features of a clip, (columns, bins)."""
        stored = clip.stored_features(spec.name)
        if stored is not None:
            return stored[:]
        return self._get(spec.name, clip, lambda: spec.compute(clip.samples(audio.SAMPLE_RATE)))

    def num_columns(self, clip: Clip, spec: AudioFeatureSpec) -> int:
        """Returns the number of columns of a clip's audio features; stored ones are not read."""
        stored = clip.stored_features(spec.name)
        return len(self.features(clip, spec) if stored is None else stored)

    def windows(self, clip: Clip, spec: AudioFeatureSpec, starts: np.ndarray) -> np.ndarray:
        """Returns windows of a clip's audio features; of stored ones no others are read.

        Args:
            clip: the clip.
            spec: which audio features.
            starts: integer (n,) or (n, m), first columns, see `AudioFeatureSpec.window_starts`.

        Returns:
            (*starts.shape, window, bins), see `AudioFeatureSpec.gather`.
        """
        stored = clip.stored_features(spec.name)
        if stored is None:
            return spec.gather(self.features(clip, spec), starts)
        first, last = max(0, int(starts.min())), max(0, int(starts.max()) + spec.window)
        if last - first <= 8 * starts.size * spec.window or len(starts) == 1:
            return spec.gather(stored[first:last], starts - first)
        return np.concatenate([self.windows(clip, spec, row) for row in starts[:, None]])

    def speech_activity(self, clip: Clip) -> np.ndarray:
        """Returns which frames have speech, bool (frames,)."""
        stored = clip.stored_features(_SPEECH)
        if stored is not None:
            return stored[:].astype(bool)
        return self._get(
            _SPEECH, clip, lambda: _speech_activity(clip, clip.samples(audio.SAMPLE_RATE))
        )

    def _get(self, feature: str, clip: Clip, compute: Callable[[], np.ndarray]) -> np.ndarray:
        # A mixture of data sets may have several clips of one ID.
        key = (feature, clip.clip_id, len(clip.frames), zlib.crc32(clip.audio.tobytes()))
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


def _speech_activity(clip: Clip, samples: np.ndarray) -> np.ndarray:
    return speech_activity.detect(samples, audio.SAMPLE_RATE, clip.frame_rate, len(clip.frames))
