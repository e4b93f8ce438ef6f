"""What networks that animate a still hear at each frame, of a voice that may still be coming."""

import dataclasses
from collections.abc import Iterable
from fractions import Fraction
from typing import Protocol

import numpy as np

from lipsync_jax.data import audio_windows
from lipsync_jax.data.audio_features import Spectrum
from lipsync_jax.data.windows import take_windows
from lipsync_jax.media import audio
from lipsync_jax.synthesis import driving_audio

_STEP, _SPAN = 160, 400  # samples from one MFCC to the next, and of one


class Samples:
    """A voice at one rate: taken as far as is asked for, forgotten once it was heard."""

    def __init__(self, chunks: Iterable[np.ndarray], rate: int, wanted: int) -> None:
        """Starts listening.

        Args:
            chunks: see `speech.Incoming`.
            rate: their samples a second.
            wanted: samples a second to be heard.
        """
        self._incoming = driving_audio.Incoming(chunks, rate)
        self._pieces = driving_audio.resampled(self._incoming, rate, wanted)
        self._held, self._first, self._ended = np.empty(0, np.float32), 0, False

    def length(self, least: Fraction) -> Fraction:
        """Seconds of the voice if it has ended; until then, some number above `least`."""
        while not self._ended and self._incoming.seconds <= least:
            self._listen()
        return self._incoming.seconds

    def take(self, first: int, last: int) -> np.ndarray:
        """Samples `first` to `last` - 1, float32, as far as there are any.

        What came before `first` is forgotten.
        """
        passed = min(max(first - self._first, 0), len(self._held))
        self._held, self._first = self._held[passed:], self._first + passed
        while not self._ended and self._first + len(self._held) < last:
            self._listen()
        return self._held[max(first - self._first, 0) : max(last - self._first, 0)]

    def _listen(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            self._ended = True
        else:
            self._held = np.concatenate([self._held, piece])


class Ear(Protocol):
    """How a network hears.

    Attributes:
        rate: samples a second that it is given.
        shape: of what it makes of a frame's sound.
        look_ahead: seconds of the voice that it hears from when a frame is first shown.
    """

    # Properties, since what is frozen has no attributes to set.
    @property
    def rate(self) -> int:
        """See above."""

    @property
    def shape(self) -> tuple[int, ...]:
        """See above."""

    @property
    def look_ahead(self) -> Fraction:
        """See above."""

    def hear(self, samples: Samples, frames: range) -> np.ndarray:
        """What some frames sound like, float32 (frames, *shape); ask in the order of time."""


@dataclasses.dataclass(frozen=True)
class RawEar:
    """Windows of raw sound around each frame's middle (`audio_windows.raw_windows`).

    Attributes:
        rate: samples a second.
        samples: of a window.
        frame_rate: frames a second.
    """

    rate: int
    samples: int
    frame_rate: Fraction

    @property
    def hop(self) -> Fraction:
        """Samples a frame."""
        return self.rate / self.frame_rate

    @property
    def shape(self) -> tuple[int, ...]:
        """See Ear."""
        return (self.samples,)

    @property
    def look_ahead(self) -> Fraction:
        """See Ear."""
        return (self.samples + self.hop) / 2 / self.rate

    def hear(self, samples: Samples, frames: range) -> np.ndarray:
        """See Ear."""
        starts = audio_windows.raw_starts(self.samples, self.hop, frames)
        first = max(int(starts[0]), 0)
        heard = samples.take(first, int(starts[-1]) + self.samples)
        heard = heard if len(heard) else np.zeros(1, np.float32)
        return take_windows(heard, starts - first, self.samples, fill=0)


@dataclasses.dataclass(frozen=True)
class MFCCEar:
    """Windows of MFCCs around each frame (`audio_windows.mfcc_windows`).

    Attributes:
        frame_rate: frames a second.
        scale: what they are divided by.
    """

    frame_rate: Fraction
    scale: float
    rate = audio.SAMPLE_RATE
    shape = (audio_windows.MFCC_STEPS, 12)

    @property
    def look_ahead(self) -> Fraction:
        """See Ear."""
        last = audio_windows.MFCC_STEPS - audio_windows.MFCC_LEAD - 1
        return Fraction(last * _STEP + _SPAN, self.rate)

    def hear(self, samples: Samples, frames: range) -> np.ndarray:
        """See Ear."""
        starts = audio_windows.mfcc_starts(frames, self.frame_rate)
        end = int(starts[-1]) + audio_windows.MFCC_STEPS
        # One step more, since pre-emphasis looks at the sample before.
        first = max(int(starts[0]) - 1, 0)
        heard = samples.take(first * _STEP, (end - 1) * _STEP + _SPAN)
        mfcc = audio.syncnet_mfcc(audio.to_int16(heard if len(heard) else np.zeros(1)))
        known = np.asarray(mfcc[1 if first else 0 :, 1:], np.float32)
        known = known if len(known) else np.zeros((1, self.shape[1]), np.float32)
        starts = starts - (first + 1 if first else 0)
        return take_windows(known, starts, audio_windows.MFCC_STEPS, fill=0) / self.scale


@dataclasses.dataclass(frozen=True)
class LogMelEar:
    """Log-mel spectra of some frames from each on (`audio_windows.log_mel_windows`).

    After the voice's end its last frame is heard on (one of which at least half is there): networks
    that were trained on stretches of clips have never met what comes then.

    Attributes:
        frame_rate: frames a second.
        frames: of a window.
        mean: what is subtracted, dB.
        scale: what they are then divided by.
    """

    frame_rate: Fraction
    frames: int
    mean: float
    scale: float
    rate = audio.LOG_MEL_RATE

    @property
    def shape(self) -> tuple[int, ...]:
        """See Ear."""
        return (self.frames * audio_windows.LOG_MEL_ROWS, audio.LOG_MEL_BINS)

    @property
    def look_ahead(self) -> Fraction:
        """See Ear."""
        seconds = Fraction(audio_windows.LOG_MEL_SAMPLES, self.rate)
        return (self.frames - 1) / self.frame_rate + seconds

    def hear(self, samples: Samples, frames: range) -> np.ndarray:
        """See Ear."""
        ahead = self.frames - 1
        starts = audio_windows.log_mel_starts(
            range(frames.start, frames.stop + ahead), self.frame_rate
        )
        starts, first = starts - starts[0], int(starts[0])
        heard = samples.take(first, first + int(starts[-1]) + audio_windows.LOG_MEL_SAMPLES)
        heard = heard if len(heard) else np.zeros(1, np.float32)
        length = audio_windows.LOG_MEL_SAMPLES
        known = max(1, int(np.sum(starts + length // 2 < len(heard))))
        spectra = audio.log_mel(take_windows(heard, starts[:known], length, fill=0))
        spectra = (spectra - np.float32(self.mean)) / np.float32(self.scale)
        spectra = np.pad(spectra, [(0, len(starts) - known), (0, 0), (0, 0)], mode="edge")
        windows = [spectra[i : i + self.frames] for i in range(len(frames))]
        return np.stack(windows).reshape(len(frames), *self.shape)


@dataclasses.dataclass(frozen=True)
class SpectrumEar:
    """Windows of a spectrum around each frame (`data.spectra`).

    Attributes:
        spectrum: which.
        frame_rate: frames a second.
    """

    spectrum: Spectrum
    frame_rate: Fraction
    rate = audio.SAMPLE_RATE

    @property
    def shape(self) -> tuple[int, ...]:
        """See Ear."""
        return (self.spectrum.window, self.spectrum.bins)

    @property
    def look_ahead(self) -> Fraction:
        """See Ear."""
        spectrum = self.spectrum
        return Fraction(spectrum.window + spectrum.after, spectrum.rate) - spectrum.lead

    def hear(self, samples: Samples, frames: range) -> np.ndarray:
        """See Ear."""
        spectrum = self.spectrum
        starts = spectrum.starts([frame / self.frame_rate for frame in frames])
        end = int(starts[-1]) + spectrum.window
        first = max(int(starts[0]) - spectrum.before, 0)
        skip = min(first, spectrum.before)
        heard = samples.take(first * spectrum.hop, (end + spectrum.after) * spectrum.hop)
        known = spectrum.compute(heard if len(heard) else np.zeros(1, np.float32))[skip:]
        return spectrum.take(known, starts - first - skip).astype(np.float32)
