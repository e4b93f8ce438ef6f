"""Windows of audio samples, MFCCs and log-mel spectrograms that belong to video frames.

Frame t is shown from t to t + 1 hops (`hop = rate / frame_rate` samples); its window is centred on
the middle of that interval. Before and after the audio is silence.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from lipsync_jax.data.windows import gather_windows
from lipsync_jax.media import audio

LOG_MEL_SAMPLES = 1764  # 40 ms
LOG_MEL_STEPS = 4  # spectra of LOG_MEL_SAMPLES, see `audio.log_mel`
MFCC_RATE = 100  # steps a second
MFCC_STEPS = 35
MFCC_LOOKBACK = 15  # steps from a window's start to its frame


def window_samples(seconds: float | Fraction, rate: int) -> int:
    """Returns the samples of a window, e.g. 2560 of 0.16 s at 16 kHz."""
    return round(seconds * rate)


def frames_within(samples: int, hop: int | Fraction) -> int:
    """Returns the number of frames that end within the audio; a partial last one is dropped.

    Args:
        samples: length of the audio.
        hop: samples a frame.
    """
    return int(samples // hop)


def waveform_windows(
    samples: np.ndarray, length: int, hop: int | Fraction, frames: range | None = None
) -> np.ndarray:
    """Returns the audio window of each frame.

    The window of frame t begins at sample t · hop - (length - hop) / 2, rounded; chunks of a clip
    have the same windows as the whole clip.

    Args:
        samples: (samples,), of the scale that the network takes.
        length: samples of a window, at least `hop`.
        hop: samples a frame, exact.
        frames: numbers of the frames; None for all within the audio.

    Returns:
        Of the samples' type, (frames, length).

    Raises:
        ValueError: the audio has more than one channel or is shorter than a frame, or `length` is
            shorter than `hop`.
    """
    if samples.ndim != 1:
        raise ValueError(f"audio of shape {samples.shape} must be mono, (samples,)")
    if not 0 < hop <= length:
        raise ValueError(f"a window of {length} samples does not cover a frame of {hop}")
    if frames is None:
        frames = range(frames_within(len(samples), hop))
        if not frames:
            raise ValueError(f"{len(samples)} samples of audio are shorter than a frame of {hop}")
    return gather_windows(samples, waveform_window_starts(length, hop, frames), length, fill=0)


def waveform_window_starts(length: int, hop: int | Fraction, frames: range) -> np.ndarray:
    """Returns the first sample of each frame's window, int64 (frames,); see `waveform_windows`."""
    return np.array([int(((2 * t + 1) * hop - length + 1) // 2) for t in frames], np.int64)


def mfcc_windows(mfcc: np.ndarray, frames: range, frame_rate: Fraction | int = 25) -> np.ndarray:
    """Returns the MFCC window of each frame (Jain et al.): 0.35 s, coefficients 2 to 13.

    Args:
        mfcc: (steps, 13), 100 a second, e.g. of `audio.syncnet_mfcc`.
        frames: numbers of the frames.
        frame_rate: frames a second.

    Returns:
        float32 (frames, 35, 12): steps 4 t - 15 to 4 t + 19 at 25 frames a second.
    """
    starts = mfcc_window_starts(frames, frame_rate)
    return gather_windows(np.asarray(mfcc[:, 1:], np.float32), starts, MFCC_STEPS, fill=0)


def mfcc_window_starts(frames: range, frame_rate: Fraction | int = 25) -> np.ndarray:
    """Returns the first step of each frame's window, int64 (frames,); see `mfcc_windows`."""
    rate = Fraction(frame_rate)
    return np.array([int(t * MFCC_RATE / rate // 1) - MFCC_LOOKBACK for t in frames], np.int64)


def log_mel_windows(
    samples: np.ndarray, frames: Sequence[int], frame_rate: Fraction | int = 25
) -> np.ndarray:
    """Returns the features of each frame for "At a Glance" (Chen et al. 2018, published code).

    Frame t has the 40 ms from its beginning on, each transformed separately, so that 16 frames
    make 64 rows.

    Args:
        samples: float (samples,), 44.1 kHz (`audio.LOG_MEL_RATE`), full scale 1.
        frames: numbers of the frames.
        frame_rate: frames a second.

    Returns:
        float32 (frames, 4, 128), dB; see `audio.log_mel`.
    """
    # Deviations G11 (published: of frame t - 1) and G12 (published: bins mixed with steps).
    starts = log_mel_window_starts(frames, frame_rate)
    return audio.log_mel(gather_windows(samples, starts, LOG_MEL_SAMPLES, fill=0))


def log_mel_window_starts(frames: Sequence[int], frame_rate: Fraction | int = 25) -> np.ndarray:
    """Returns the first sample of each frame's audio, int64 (frames,); see `log_mel_windows`."""
    hop = audio.LOG_MEL_RATE / Fraction(frame_rate)
    return np.array([int(t * hop // 1) for t in frames], np.int64)
