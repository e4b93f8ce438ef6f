"""Speech activity: which moments of a recording have speech, by its energy."""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np

from lipsync_jax.media import audio

LEVEL_RATE = 100  # levels a second
_RATE = 8000
_FRAME, _HOP, _FFT = 200, _RATE // LEVEL_RATE, 256  # samples
_BLOCK = 1000  # levels computed at once, to bound memory


def detect(samples: np.ndarray, rate: int, frame_rate: Fraction | int, frames: int) -> np.ndarray:
    """Detects which video frames have speech, by the energy between 100 and 4000 Hz.

    The threshold lies between the noise floor (10th percentile) and the highest level held for
    0.1 s; clicks under 50 ms are dropped and pauses under 0.3 s are bridged. The detector separates
    speech from pauses in a speech recording, but not speech from music.

    Args:
        samples: float (samples,), full scale 1; sample 0 is at the time of frame 0.
        rate: samples a second.
        frame_rate: video frames a second.
        frames: number of video frames.

    Returns:
        bool (frames,); False after the end of the audio, and everywhere in silence or in constant
        noise.

    Raises:
        ValueError: there are no samples, several channels, or samples that are not finite.
    """
    audio.check_samples(samples, mono=True)
    return active_frames(levels([samples], rate), frame_rate, frames)


def levels(chunks: Iterable[np.ndarray], rate: int) -> np.ndarray:
    """Computes the level in the band of speech; memory does not grow with the audio.

    Args:
        chunks: float (samples,), finite, full scale 1; the result does not depend on the division
            into chunks.
        rate: samples a second.

    Returns:
        float32 (n,), decibels re full scale, LEVEL_RATE a second.

    Raises:
        ValueError: there are no samples.
    """
    received = sent = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal received
        for chunk in chunks:
            received += len(chunk)
            yield np.asarray(chunk, np.float32)

    buffer, found = np.zeros(60, np.float32), []  # the hop is centred in its frame
    for narrow in audio.resample_chunks(counted(), rate, _RATE):
        sent += len(narrow)
        buffer = np.concatenate([buffer, narrow])
        count = max(0, (len(buffer) - _FRAME) // _HOP + 1)
        found.append(_levels(buffer, count))
        buffer = buffer[count * _HOP :]
    if not received:
        raise ValueError("there are no samples; the audio is empty")
    missing = -(-received * _RATE // rate) - sent  # the resampler may end a sample early
    buffer = np.pad(buffer, (0, _FRAME + missing))
    found.append(_levels(buffer, (len(buffer) - _FRAME) // _HOP + 1))
    return np.concatenate(found)


def active_frames(levels: np.ndarray, frame_rate: Fraction | int, frames: int) -> np.ndarray:
    """Returns which video frames have speech, see `detect`.

    Args:
        levels: of the audio, see the function `levels`.
        frame_rate: video frames a second.
        frames: number of video frames.
    """
    import scipy.ndimage

    floor = np.percentile(levels, 10)
    peak = scipy.ndimage.minimum_filter1d(levels, 10).max()
    if peak < -60 or peak - floor < 6:
        return np.zeros(frames, bool)
    threshold = max(peak - 40, floor + min(12, (peak - floor) / 2))
    active = scipy.ndimage.minimum_filter1d((levels > threshold).astype(np.int64), 5)
    active = scipy.ndimage.maximum_filter1d(active, 5)
    active = scipy.ndimage.maximum_filter1d(active, 31)
    active = scipy.ndimage.minimum_filter1d(active, 31)
    bounds = np.array(
        [math.floor(LEVEL_RATE * Fraction(i) / frame_rate) for i in range(frames + 1)]
    )
    counts = np.concatenate([[0], np.cumsum(active)])
    first, last = np.minimum(bounds[:-1], len(active)), np.minimum(bounds[1:], len(active))
    return counts[np.maximum(last, np.minimum(first + 1, len(active)))] > counts[first]


def _levels(samples: np.ndarray, count: int) -> np.ndarray:
    """Returns the first levels of samples at _RATE."""
    import scipy.fft

    found, window = [np.empty(0, np.float32)], np.hanning(_FRAME).astype(np.float32)
    for i in range(0, count, _BLOCK):
        stop = min(count, i + _BLOCK)
        part = samples[i * _HOP : (stop - 1) * _HOP + _FRAME]
        frames = np.lib.stride_tricks.sliding_window_view(part, _FRAME)[::_HOP]
        power = np.abs(scipy.fft.rfft(frames * window, _FFT)) ** 2
        found.append(10 * np.log10(power[:, 4:].sum(axis=1) / (_FFT // 2 * 75) + 1e-12))
    return np.concatenate(found)
