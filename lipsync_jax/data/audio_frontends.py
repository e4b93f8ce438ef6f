"""Audio frontends of the animation networks: features of each frame, from streaming audio."""

import dataclasses
from fractions import Fraction
from typing import Protocol

import numpy as np

from lipsync_jax.data import audio_windows
from lipsync_jax.data.audio_features import AudioFeatureSpec
from lipsync_jax.data.windows import gather_windows
from lipsync_jax.media import audio

_MFCC_HOP, _MFCC_WINDOW = 160, 400  # samples from one MFCC to the next, and per MFCC


class AudioStream(Protocol):
    """Audio that is read once, from its start."""

    def read(self, first: int, last: int) -> np.ndarray:
        """Returns samples `first` to `last` - 1, float32, fewer at the end of the audio."""


def _read(stream: AudioStream, first: int, last: int) -> np.ndarray:
    """Reads samples `first` to `last` - 1; after the end of the audio, one sample of silence."""
    waveform = stream.read(first, last)
    return waveform if len(waveform) else np.zeros(1, np.float32)


class AudioFrontend(Protocol):
    """Computes the audio features that condition a network.

    Attributes:
        rate: samples a second of the input.
        shape: of the features of one frame.
        look_ahead: seconds of audio after the start of a frame that the frame's features need.
    """

    # Properties, since frozen dataclasses have no settable attributes.
    @property
    def rate(self) -> int:
        """See above."""

    @property
    def shape(self) -> tuple[int, ...]:
        """See above."""

    @property
    def look_ahead(self) -> Fraction:
        """See above."""

    def extract(self, stream: AudioStream, frames: range) -> np.ndarray:
        """Computes features, float32 (frames, *shape); call in the order of time."""


@dataclasses.dataclass(frozen=True)
class WaveformFrontend:
    """Waveform windows around each frame's centre (`audio_windows.waveform_window_starts`).

    Attributes:
        rate: samples a second.
        window_samples: samples of a window.
        frame_rate: frames a second.
    """

    rate: int
    window_samples: int
    frame_rate: Fraction

    @property
    def hop(self) -> Fraction:
        """Samples a frame."""
        return self.rate / self.frame_rate

    @property
    def shape(self) -> tuple[int, ...]:
        """See AudioFrontend."""
        return (self.window_samples,)

    @property
    def look_ahead(self) -> Fraction:
        """See AudioFrontend."""
        return (self.window_samples + self.hop) / 2 / self.rate

    def extract(self, stream: AudioStream, frames: range) -> np.ndarray:
        """See AudioFrontend."""
        starts = audio_windows.waveform_window_starts(self.window_samples, self.hop, frames)
        first = max(int(starts[0]), 0)
        waveform = _read(stream, first, int(starts[-1]) + self.window_samples)
        return gather_windows(waveform, starts - first, self.window_samples, fill=0)


@dataclasses.dataclass(frozen=True)
class MFCCFrontend:
    """Windows of MFCCs around each frame (`audio_windows.mfcc_window_starts`).

    Attributes:
        frame_rate: frames a second.
        scale: divisor of the MFCCs.
    """

    frame_rate: Fraction
    scale: float
    rate = audio.SAMPLE_RATE
    shape = (audio_windows.MFCC_STEPS, 12)

    @property
    def look_ahead(self) -> Fraction:
        """See AudioFrontend."""
        last = audio_windows.MFCC_STEPS - audio_windows.MFCC_LOOKBACK - 1
        return Fraction(last * _MFCC_HOP + _MFCC_WINDOW, self.rate)

    def extract(self, stream: AudioStream, frames: range) -> np.ndarray:
        """See AudioFrontend."""
        starts = audio_windows.mfcc_window_starts(frames, self.frame_rate)
        end = int(starts[-1]) + audio_windows.MFCC_STEPS
        # One step more, since pre-emphasis uses the sample before.
        first = max(int(starts[0]) - 1, 0)
        waveform = _read(stream, first * _MFCC_HOP, (end - 1) * _MFCC_HOP + _MFCC_WINDOW)
        mfcc = audio.syncnet_mfcc(audio.to_int16(waveform))
        features = np.asarray(mfcc[1 if first else 0 :, 1:], np.float32)
        features = features if len(features) else np.zeros((1, self.shape[1]), np.float32)
        starts = starts - (first + 1 if first else 0)
        return gather_windows(features, starts, audio_windows.MFCC_STEPS, fill=0) / self.scale


@dataclasses.dataclass(frozen=True)
class LogMelFrontend:
    """Log-mel spectra of each frame and the following ones (`audio_windows.log_mel_windows`).

    After the audio's end the spectrum of its last frame is repeated (the last of which at least
    half exists): networks that were trained on segments of clips have no training data for silence
    after the end.

    Attributes:
        frame_rate: frames a second.
        frames: frames of a window.
        mean: subtracted from the spectra, dB.
        scale: divisor of the spectra after the subtraction.
    """

    frame_rate: Fraction
    frames: int
    mean: float
    scale: float
    rate = audio.LOG_MEL_RATE

    @property
    def shape(self) -> tuple[int, ...]:
        """See AudioFrontend."""
        return (self.frames * audio_windows.LOG_MEL_STEPS, audio.LOG_MEL_BINS)

    @property
    def look_ahead(self) -> Fraction:
        """See AudioFrontend."""
        seconds = Fraction(audio_windows.LOG_MEL_SAMPLES, self.rate)
        return (self.frames - 1) / self.frame_rate + seconds

    def extract(self, stream: AudioStream, frames: range) -> np.ndarray:
        """See AudioFrontend."""
        ahead = self.frames - 1
        starts = audio_windows.log_mel_window_starts(
            range(frames.start, frames.stop + ahead), self.frame_rate
        )
        starts, first = starts - starts[0], int(starts[0])
        waveform = _read(stream, first, first + int(starts[-1]) + audio_windows.LOG_MEL_SAMPLES)
        length = audio_windows.LOG_MEL_SAMPLES
        num_complete = max(1, int(np.sum(starts + length // 2 < len(waveform))))
        spectra = audio.log_mel(gather_windows(waveform, starts[:num_complete], length, fill=0))
        spectra = (spectra - np.float32(self.mean)) / np.float32(self.scale)
        spectra = np.pad(spectra, [(0, len(starts) - num_complete), (0, 0), (0, 0)], mode="edge")
        windows = [spectra[i : i + self.frames] for i in range(len(frames))]
        return np.stack(windows).reshape(len(frames), *self.shape)


@dataclasses.dataclass(frozen=True)
class SpectrogramFrontend:
    """Windows of audio features around each frame (`data.audio_features`).

    Attributes:
        feature_spec: which audio features.
        frame_rate: frames a second.
    """

    feature_spec: AudioFeatureSpec
    frame_rate: Fraction
    rate = audio.SAMPLE_RATE

    @property
    def shape(self) -> tuple[int, ...]:
        """See AudioFrontend."""
        return (self.feature_spec.window, self.feature_spec.bins)

    @property
    def look_ahead(self) -> Fraction:
        """See AudioFrontend."""
        feature_spec = self.feature_spec
        return (
            Fraction(feature_spec.window + feature_spec.right_context, feature_spec.rate)
            - feature_spec.lookback
        )

    def extract(self, stream: AudioStream, frames: range) -> np.ndarray:
        """See AudioFrontend."""
        feature_spec = self.feature_spec
        starts = feature_spec.window_starts([frame / self.frame_rate for frame in frames])
        end = int(starts[-1]) + feature_spec.window
        first = max(int(starts[0]) - feature_spec.left_context, 0)
        skip = min(first, feature_spec.left_context)
        waveform = _read(
            stream, first * feature_spec.hop, (end + feature_spec.right_context) * feature_spec.hop
        )
        features = feature_spec.compute(waveform)[skip:]
        return feature_spec.gather(features, starts - first - skip).astype(np.float32)
