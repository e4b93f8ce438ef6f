"""Which raw samples, MFCCs and log-mel spectra go with which video frame.

Frame t is on screen from t to t + 1 hops (`hop = rate / frame_rate` samples) and hears a window
centred on the middle of that; before and after the sound is silence.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from lipsync_jax.data.windows import take_windows
from lipsync_jax.media import audio

LOG_MEL_SAMPLES = 1764  # 40 ms
LOG_MEL_ROWS = 4  # spectra of so many samples, see `audio.log_mel`
MFCC_RATE = 100  # steps a second
MFCC_STEPS = 35
MFCC_LEAD = 15  # steps from a window's start to its frame


def window_samples(seconds: float | Fraction, rate: int) -> int:
    """Samples of a window, e.g. 2560 of 0.16 s at 16 kHz."""
    return round(seconds * rate)


def published_hop(rate: int, frame_rate: float) -> int:
    """Whole samples from frame to frame, as the official code steps.

    Where the rates do not divide, the sound runs ahead of the frames; `Fraction(rate) / frame_rate`
    does not.
    """
    return int(rate / float(frame_rate))


def frames_within(samples: int, hop: int | Fraction) -> int:
    """Frames that are on screen for no longer than the sound lasts; a partial last one is dropped.

    Args:
        samples: length of the sound.
        hop: samples a frame.
    """
    return int(samples // hop)


def raw_windows(
    samples: np.ndarray, length: int, hop: int | Fraction, frames: range | None = None
) -> np.ndarray:
    """The window of raw sound of each frame.

    Frame t's begins at sample t · hop - (length - hop) / 2, rounded; chunks of a clip get the
    windows that the whole clip gets.

    Args:
        samples: (samples,), full scale 1 or whatever the network takes.
        length: samples of a window, at least `hop`.
        hop: samples a frame, exact.
        frames: which frames; None is all within the sound.

    Returns:
        Of the sound's type, (frames, length).

    Raises:
        ValueError: the sound has more than one channel, is shorter than a frame, or `length` than
            `hop`.
    """
    if samples.ndim != 1:
        raise ValueError(f"sound of shape {samples.shape} must be mono, (samples,)")
    if not 0 < hop <= length:
        raise ValueError(f"a window of {length} samples does not cover a frame of {hop}")
    if frames is None:
        frames = range(frames_within(len(samples), hop))
        if not frames:
            raise ValueError(f"{len(samples)} samples of sound are shorter than a frame of {hop}")
    return take_windows(samples, raw_starts(length, hop, frames), length, fill=0)


def raw_starts(length: int, hop: int | Fraction, frames: range) -> np.ndarray:
    """The first sample of each frame's window, int64 (frames,); see `raw_windows`."""
    return np.array([int(((2 * t + 1) * hop - length + 1) // 2) for t in frames], np.int64)


def mfcc_windows(mfcc: np.ndarray, frames: range, frame_rate: Fraction | int = 25) -> np.ndarray:
    """The MFCC window of each frame (Jain et al.): 0.35 s, coefficients 2 to 13.

    Args:
        mfcc: (steps, 13), 100 a second, e.g. of `audio.syncnet_mfcc`.
        frames: which frames.
        frame_rate: frames a second.

    Returns:
        float32 (frames, 35, 12): steps 4 t - 15 to 4 t + 19 at 25 frames a second.
    """
    starts = mfcc_starts(frames, frame_rate)
    return take_windows(np.asarray(mfcc[:, 1:], np.float32), starts, MFCC_STEPS, fill=0)


def mfcc_starts(frames: range, frame_rate: Fraction | int = 25) -> np.ndarray:
    """The first step of each frame's window, int64 (frames,); see `mfcc_windows`."""
    rate = Fraction(frame_rate)
    return np.array([int(t * MFCC_RATE / rate // 1) - MFCC_LEAD for t in frames], np.int64)


def log_mel_windows(
    samples: np.ndarray, frames: Sequence[int], frame_rate: Fraction | int = 25
) -> np.ndarray:
    """The sound of each frame as "At a Glance" hears it (Chen et al. 2018, published code).

    Frame t has the 40 ms from its beginning on, transformed by themselves; that is why 16 frames
    make 64 rows.

    Args:
        samples: float (samples,), 44.1 kHz (`audio.LOG_MEL_RATE`), full scale 1.
        frames: which frames.
        frame_rate: frames a second.

    Returns:
        float32 (frames, 4, 128), dB; see `audio.log_mel`.
    """
    starts = log_mel_starts(frames, frame_rate)
    return audio.log_mel(take_windows(samples, starts, LOG_MEL_SAMPLES, fill=0))


def log_mel_starts(frames: Sequence[int], frame_rate: Fraction | int = 25) -> np.ndarray:
    """The first sample of each frame's sound, int64 (frames,); see `log_mel_windows`."""
    hop = audio.LOG_MEL_RATE / Fraction(frame_rate)
    return np.array([int(t * hop // 1) for t in frames], np.int64)


def published_resample(samples: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Resampling as the official code does it: of the whole clip's Fourier transform.

    Args:
        samples: integers or floats (samples,).
        from_rate: their rate, Hz.
        to_rate: the rate wanted, Hz.

    Returns:
        float64 (floor(samples · to_rate / from_rate),), same scale.
    """
    if from_rate == to_rate:
        return np.asarray(samples, np.float64)
    import scipy.signal  # here: slow to import, and only temporal GANs come here

    return scipy.signal.resample(
        np.asarray(samples, np.float64), len(samples) * to_rate // from_rate
    )
