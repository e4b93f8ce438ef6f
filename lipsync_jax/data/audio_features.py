"""What generators hear: spectra of a voice, and a window of one for each frame.

Column c of a spectrum is at c / rate seconds. Whatever lies outside of the sound is silence.
"""

import dataclasses
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from lipsync_jax.data import audio_windows, windows
from lipsync_jax.media import audio

SAMPLE_RATE = audio.SAMPLE_RATE


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """A kind of spectrum, and the part of it that belongs to a frame.

    Attributes:
        name: `mel` or `mfcc`; spectra of one name differ in their windows alone.
        rate: columns a second.
        bins: of a column.
        window: columns of a window.
        lead: seconds by which a window starts before its frame, exact.
        silence: the value of every bin outside of the sound.
        compute: float (samples,), 16 kHz, full scale 1 -> float (columns, bins).
        before: columns earlier than one whose sound `compute` looks at to make it.
        after: columns later, its own sound's end included.
    """

    name: str
    rate: int
    bins: int
    window: int
    lead: Fraction
    silence: float
    compute: Callable[[np.ndarray], np.ndarray]
    before: int
    after: int

    @property
    def hop(self) -> int:
        """Samples from column to column."""
        return SAMPLE_RATE // self.rate

    def starts(self, times: Sequence[Fraction], alignment: str = "matched") -> np.ndarray:
        """The first column of the window of each frame.

        Args:
            times: exact seconds at which frames are shown.
            alignment: see `windows.inference_starts_at`.

        Returns:
            int64 (len(times),); below 0 where a window starts before the sound.

        Raises:
            ValueError: no such alignment.
        """
        return windows.inference_starts_at(times, alignment, self.lead, self.rate)

    def take(self, features: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """The windows that start at some columns, (*starts.shape, window, bins)."""
        known = features if len(features) else np.full((1, self.bins), self.silence, np.float32)
        return windows.take_windows(known, starts, self.window, self.silence)


def _mfcc(samples: np.ndarray) -> np.ndarray:
    if len(samples) < 400:
        return np.empty((0, 12), np.float32)
    return audio.speech2vid_mfcc(samples)[:, 1:].astype(np.float32)


MEL = Spectrum(
    name="mel",
    rate=audio.MEL_RATE,
    bins=audio.MEL_BINS,
    window=windows.MEL_WINDOW,
    lead=windows.LEAD,
    silence=audio.MEL_SILENCE,
    compute=audio.mel_spectrogram,
    before=3,
    after=1,
)
# Of Speech2Vid (Chung et al. 2017) and of one branch of LipGAN (KR et al. 2019): windows whose
# middle is that of a frame of 40 ms, as LipGAN's published code prepares its data.
MFCC = Spectrum(
    name="mfcc",
    rate=audio_windows.MFCC_RATE,
    bins=12,
    window=audio_windows.MFCC_STEPS,
    lead=Fraction(16, 100),
    silence=0.0,
    compute=_mfcc,
    before=1,
    after=2,
)
LIPGAN = {  # by branch; the published code of the second is eight frames off
    "mfcc": MFCC,
    "mel": dataclasses.replace(MEL, window=27, lead=Fraction(13, 80) - Fraction(1, 50)),
}
