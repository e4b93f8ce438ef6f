"""Audio features of networks: kinds of spectrograms, and the window of one for each frame.

Column c of a spectrogram is at c / rate seconds. Columns outside of the audio are silence.
"""

import dataclasses
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from lipsync_jax.data import audio_windows, windows
from lipsync_jax.media import audio

SAMPLE_RATE = audio.SAMPLE_RATE


@dataclasses.dataclass(frozen=True)
class AudioFeatureSpec:
    """A kind of spectrogram, and the window of it that belongs to a frame.

    Attributes:
        name: `mel` or `mfcc`; features of one name differ in their windows only.
        rate: columns a second.
        bins: values of a column.
        window: columns of a window.
        lookback: seconds by which a window starts before its frame, exact.
        silence: the value of every bin outside of the audio, or one value for each bin.
        compute: float (samples,), 16 kHz, full scale 1 -> float (columns, bins).
        left_context: columns before a column on whose audio `compute` depends for that column.
        right_context: columns after a column, including the end of its own audio.
    """

    name: str
    rate: int
    bins: int
    window: int
    lookback: Fraction
    silence: float | tuple[float, ...]
    compute: Callable[[np.ndarray], np.ndarray]
    left_context: int
    right_context: int

    @property
    def hop(self) -> int:
        """Returns the samples from column to column."""
        return SAMPLE_RATE // self.rate

    def window_starts(
        self, times: Sequence[Fraction], audio_offset: str = "corrected"
    ) -> np.ndarray:
        """Returns the first column of each frame's window.

        Args:
            times: exact seconds at which frames are shown.
            audio_offset: see `windows.inference_starts_at`.

        Returns:
            int64 (len(times),); below 0 where a window starts before the audio.

        Raises:
            ValueError: no such audio offset.
        """
        return windows.inference_starts_at(times, audio_offset, self.lookback, self.rate)

    def window_starts_of_frames(self, frames: np.ndarray, frame_rate: Fraction) -> np.ndarray:
        """Returns `window_starts` of frames at a constant rate, computed for all at once.

        Args:
            frames: integer (n,), frame numbers.
            frame_rate: frames a second, exact.
        """
        return windows.generator_window_start(frames, frame_rate, self.lookback, self.rate)

    def gather(self, features: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Returns the windows that start at some columns, (*starts.shape, window, bins)."""
        padded_features = (
            features if len(features) else np.full((1, self.bins), self.silence, np.float32)
        )
        return windows.gather_windows(padded_features, starts, self.window, self.silence)


def _mfcc(samples: np.ndarray) -> np.ndarray:
    if len(samples) < 400:
        return np.empty((0, 12), np.float32)
    return audio.speech2vid_mfcc(samples)[:, 1:].astype(np.float32)


MEL = AudioFeatureSpec(
    name="mel",
    rate=audio.MEL_RATE,
    bins=audio.MEL_BINS,
    window=windows.MEL_WINDOW,
    lookback=windows.WINDOW_LOOKBACK,
    silence=audio.MEL_SILENCE,
    compute=audio.mel_spectrogram,
    left_context=3,
    right_context=1,
)
# Of Speech2Vid (Chung et al. 2017) and of one branch of LipGAN (KR et al. 2019): windows with the
# same centre as a frame of 40 ms, as LipGAN's published code prepares its data.
MFCC = AudioFeatureSpec(
    name="mfcc",
    rate=audio_windows.MFCC_RATE,
    bins=12,
    window=audio_windows.MFCC_STEPS,
    lookback=Fraction(16, 100),  # deviation S6: none in the demo of Speech2Vid
    silence=0.0,
    compute=_mfcc,
    left_context=1,
    right_context=2,
)
LIPGAN = {  # by branch; the published code of `mel` is eight frames off: deviation L3
    "mfcc": MFCC,
    "mel": dataclasses.replace(MEL, window=27, lookback=Fraction(13, 80) - Fraction(1, 50)),
}
