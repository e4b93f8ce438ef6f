"""Audio: decoding, resampling, features of the models.

Audio features are time-major, (time, bins). Times are exact (`fractions.Fraction`).
"""

import functools
import math
import os
import wave
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import soxr

from lipsync_jax.media import packets
from lipsync_jax.media.samples import SampleStream, mono_weights, sum_channels

SAMPLE_RATE = 16_000  # of Wav2Lip and SyncNet
MEL_BINS = 80
MEL_HOP = 200
MEL_RATE = SAMPLE_RATE // MEL_HOP  # mel columns a second
MEL_SILENCE = -4.0  # the value of every bin of a silent column

LOG_MEL_RATE = 44_100  # samples a second of "At a Glance"
LOG_MEL_BINS = 128

_MEL_FFT = 800
_LOG_MEL_FFT = 1024
_MEL_BLOCK = 4096  # columns transformed at once, to bound memory
_PREEMPHASIS = 0.97


def load(
    path: str | os.PathLike,
    rate: int | None = None,
    mono: bool = True,
    start: Fraction | None = None,
    seconds: Fraction | None = None,
) -> tuple[np.ndarray, int]:
    """Reads a file's audio.

    Args:
        path: any container FFmpeg reads, audio or video.
        rate: samples a second of the result; None keeps the file's own.
        mono: mix channels down to one, see `samples.mono_weights`.
        start: seconds of the container's clock of sample 0 (earlier audio is cut, a later start
            is padded); None means the start of the audio.
        seconds: stop after about this length; None reads to the end.

    Returns:
        float32 (samples,), or (samples, channels) without `mono`, full scale 1; and the rate.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file can't be read, has no audio stream or no samples, or has samples that
            are not finite.
    """
    stream = SampleStream(path, start)
    weights = mono_weights(path) if mono else None
    chunks, length = [], 0
    for chunk in stream:
        chunks.append(sum_channels(chunk, weights) if mono else chunk)
        length += len(chunk)
        if seconds is not None and length >= seconds * stream.rate:
            break
    samples = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    if not len(samples):
        raise ValueError(
            f"{path}: its audio stream has no samples from {float(start or 0):.2f} s on"
        )
    if not np.isfinite(samples).all():
        raise ValueError(f"{path} holds samples that are not finite numbers; export it again")
    if rate is None or rate == stream.rate:
        return samples, stream.rate
    return resample(samples, stream.rate, rate), rate


def load_from_video_start(
    path: str | os.PathLike,
    rate: int | None = None,
    mono: bool = True,
    seconds: Fraction | None = None,
) -> tuple[np.ndarray, int]:
    """Reads a file's audio like `load`, with sample 0 at the time of the first video frame.

    Without video, sample 0 is the first sample.
    """
    return load(path, rate, mono, packets.video_start_time(path), seconds)


def save(path: str | os.PathLike, samples: np.ndarray, rate: int) -> None:
    """Writes a 16-bit WAV file.

    Args:
        path: of the file; its folder is created if missing.
        samples: (samples,) or (samples, channels); int16, or float with full scale 1 (louder
            values are clipped).
        rate: samples a second.

    Raises:
        ValueError: samples are not finite.
    """
    pcm = samples if samples.dtype == np.int16 else to_int16(samples)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with wave.open(os.fspath(path), "wb") as file:
        file.setnchannels(1 if pcm.ndim == 1 else pcm.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm.astype("<i2").tobytes())


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Converts float samples of full scale 1 to int16; the inverse of `load` for 16-bit audio.

    Raises:
        ValueError: samples are not finite.
    """
    check_samples(samples)
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)


def resample(samples: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Resamples with a band limit (soxr, high quality).

    Args:
        samples: float32 (samples,) or (samples, channels).
        from_rate: of the samples, Hz.
        to_rate: of the result, Hz.

    Returns:
        float32, ceil(samples · to_rate / from_rate) long.
    """
    samples = np.asarray(samples, np.float32)
    if from_rate == to_rate:
        return samples
    length = -(-len(samples) * to_rate // from_rate)
    resampled = soxr.resample(samples, from_rate, to_rate, quality="HQ")[:length]
    padding = [(0, length - len(resampled))] + [(0, 0)] * (samples.ndim - 1)
    return np.pad(resampled, padding)


def resample_chunks(
    chunks: Iterable[np.ndarray], rate: int, target_rate: int = SAMPLE_RATE
) -> Iterator[np.ndarray]:
    """Resamples mono chunks; the result does not depend on the division into chunks."""
    if rate == target_rate:
        yield from chunks
        return
    resampler = soxr.ResampleStream(rate, target_rate, 1, quality="HQ")
    for chunk in chunks:
        yield resampler.resample_chunk(chunk)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def mel_spectrogram(samples: np.ndarray) -> np.ndarray:
    """Computes Wav2Lip's mel spectrogram (Prajwal et al. 2020; constants of the published code).

    Pre-emphasis 0.97, centred 800-sample Hann frames every 200 samples (reflected edges),
    magnitude, 80 Slaney filters over 55-7600 Hz, then clip(8·(dB − 20 + 100)/100 − 4, −4, 4) with
    dB = 20·log10(max(1e-5, mel)).

    Args:
        samples: float (samples,), 16 kHz, full scale 1.

    Returns:
        float32 (1 + samples // 200, 80), within [-4, 4]; silence is -4. Column c is centred on
        sample 200·c.

    Raises:
        ValueError: there are no samples, several channels, or samples that are not finite.
    """
    check_samples(samples, mono=True)
    emphasised = np.pad(_preemphasis(samples), _MEL_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(emphasised, _MEL_FFT)[::MEL_HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_MEL_FFT) / _MEL_FFT)
    mel = np.empty((len(frames), MEL_BINS), np.float32)
    for first in range(0, len(frames), _MEL_BLOCK):
        block = slice(first, first + _MEL_BLOCK)
        magnitude = np.abs(np.fft.rfft(frames[block] * window)).astype(np.float32)
        mel[block] = magnitude @ mel_basis().T
    decibels = 20 * np.log10(np.maximum(1e-5, mel)) - 20
    return np.clip(8 * (decibels + 100) / 100 - 4, -4, 4).astype(np.float32)


@functools.cache
def mel_basis() -> np.ndarray:
    """Returns Wav2Lip's 80 mel filters: Slaney's scale (linear below 1 kHz), normalized by area.

    Returns:
        float32 (80, 401), read-only: one triangle a row, over the bins of an 800-point transform.
    """
    return _slaney_basis(MEL_BINS, _MEL_FFT, SAMPLE_RATE, 55.0, 7600.0)


def _slaney_basis(bands: int, fft: int, rate: int, low: float, high: float) -> np.ndarray:
    mels = np.linspace(_slaney_mel(low), _slaney_mel(high), bands + 2)
    log_part = 1000 * np.exp(np.log(6.4) / 27 * (mels - 15))
    edges = np.where(mels >= 15, log_part, mels * 200 / 3)[:, None]
    bins = np.arange(fft // 2 + 1) * rate / fft
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    basis = (triangles * (2 / (edges[2:] - edges[:-2]))).astype(np.float32)
    basis.setflags(write=False)
    return basis


def _slaney_mel(hertz: float) -> float:
    return 3 * hertz / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


@functools.cache
def _log_mel_basis() -> np.ndarray:
    return _slaney_basis(LOG_MEL_BINS, _LOG_MEL_FFT, LOG_MEL_RATE, 0.0, 16_000.0)


def log_mel(chunks: np.ndarray) -> np.ndarray:
    """Computes the log-mel spectra of audio chunks of "At a Glance" (Chen et al. 2018).

    For each chunk separately: centred 1024-sample Hann frames every 512 samples (reflected edges),
    power, 128 Slaney filters over 0-16000 Hz, decibels, none more than 80 below the loudest.

    Args:
        chunks: float (n, samples), 44.1 kHz, full scale 1; over 512 samples, e.g. 1764 a frame.

    Returns:
        float32 (n, 1 + samples // 512, 128), dB of 16-bit samples: about 16 to 103 for speech.

    Raises:
        ValueError: the chunks are too short.
    """
    if chunks.shape[1] <= _LOG_MEL_FFT // 2:
        raise ValueError(f"chunks of {chunks.shape[1]} samples are too short; over 512 are needed")
    margin = ((0, 0), (_LOG_MEL_FFT // 2,) * 2)
    padded = np.pad(32768 * np.asarray(chunks, np.float32), margin, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_LOG_MEL_FFT) / _LOG_MEL_FFT)
    windows = np.lib.stride_tricks.sliding_window_view(padded, _LOG_MEL_FFT, axis=1)[:, ::512]
    import scipy.fft  # here: slow to import, and used by few methods

    power = np.abs(scipy.fft.rfft(windows * window.astype(np.float32))) ** 2
    decibels = 10 * np.log10(np.maximum(1e-10, power @ _log_mel_basis().T))
    loudest = decibels.max(axis=(1, 2), keepdims=True)
    # Silence is exactly -100 on every machine.
    return np.maximum(decibels, np.maximum(loudest - 80, -100)).astype(np.float32)


def speech2vid_mfcc(samples: np.ndarray) -> np.ndarray:
    """Computes the MFCCs of Speech2Vid and LipGAN, 100 a second (their published MATLAB code).

    Pre-emphasis 0.97, 25 ms Hamming frames every 10 ms, 512-point magnitude spectrum, 40 triangular
    filters over 300-3700 Hz, natural logarithm, DCT-II scaled by sqrt(2 / 40), sine lifter 22. The
    published code has no floor, so that silence gives NaN there; here silence is finite
    (deviation L5).

    Args:
        samples: float (samples,), 16 kHz, full scale 1.

    Returns:
        float64 (steps, 13), steps = 1 + (samples - 400) // 160.

    Raises:
        ValueError: there are fewer than 400 samples, several channels, or samples that are not
            finite.
    """
    check_samples(samples, mono=True)
    if len(samples) < 400:
        raise ValueError(f"{len(samples)} samples are too short; MFCCs need 400, which is 25 ms")
    frames = np.lib.stride_tricks.sliding_window_view(32768 * _preemphasis(samples), 400)[::160]
    magnitude = np.abs(np.fft.rfft(frames * np.hamming(400), 512))
    bands = np.log(np.maximum(magnitude @ _telephone_basis().T, np.finfo(np.float64).eps))
    cosines = np.cos(np.pi * np.arange(13)[:, None] * (np.arange(40) + 0.5) / 40)
    cepstrum = bands @ cosines.T * np.sqrt(2 / 40)
    return cepstrum * (1 + 11 * np.sin(np.pi * np.arange(13) / 22))


@functools.cache
def _telephone_basis() -> np.ndarray:
    ends = 1127 * np.log1p(np.array([300, 3700]) / 700)
    edges = 700 * np.expm1(np.linspace(ends[0], ends[1], 42) / 1127)[:, None]
    bins = np.linspace(0, SAMPLE_RATE / 2, 257)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


def syncnet_mfcc(samples: np.ndarray) -> np.ndarray:
    """Computes the MFCCs of SyncNet v2 (Chung & Zisserman 2016), 100 a second.

    Pre-emphasis 0.97, 25 ms rectangular frames every 10 ms, 512-point power spectrum, 26 triangular
    filters over 0-8000 Hz with edges snapped to bins, natural logarithm, orthonormal DCT-II, sine
    lifter 22; the first coefficient is the frame's log energy.

    Args:
        samples: int16 (samples,), 16 kHz.

    Returns:
        float64 (frames, 13), frames = 1 + ceil((samples − 400) / 160), at least 1.

    Raises:
        ValueError: there are no samples, several channels, or samples that are not int16 (see
            `to_int16`).
    """
    if samples.dtype != np.int16:
        raise ValueError(f"SyncNet's MFCCs need int16 samples, not {samples.dtype}; use to_int16")
    check_samples(samples, mono=True)
    count = 1 + max(0, -(-(len(samples) - 400) // 160))
    padded = np.zeros(400 + 160 * (count - 1))
    padded[: len(samples)] = _preemphasis(samples)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::160]
    import scipy.fft

    power = np.abs(np.fft.rfft(frames, 512)) ** 2 / 512
    tiny = np.finfo(np.float64).eps
    energy, bands = power.sum(axis=1), power @ _mfcc_basis().T
    bands = np.log(np.where(bands == 0, tiny, bands))
    cepstrum = scipy.fft.dct(bands, type=2, norm="ortho")[:, :13]
    cepstrum *= 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
    cepstrum[:, 0] = np.log(np.where(energy == 0, tiny, energy))
    return cepstrum


@functools.cache
def _mfcc_basis() -> np.ndarray:
    mels = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28)
    edges = np.floor(513 * 700 * (10 ** (mels / 2595) - 1) / SAMPLE_RATE)[:, None]
    bins = np.arange(257)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.where(bins < edges[1:-1], np.maximum(0, rising), np.maximum(0, falling))


def _preemphasis(samples: np.ndarray) -> np.ndarray:
    emphasised = samples.astype(np.float64)
    emphasised[1:] -= _PREEMPHASIS * emphasised[:-1]  # NumPy evaluates the right side first
    return emphasised


def check_samples(samples: np.ndarray, mono: bool = False) -> None:
    """Raises ValueError for no samples, several channels if `mono`, or ones that aren't finite."""
    if mono and samples.ndim != 1:
        raise ValueError(f"one channel is needed, not an array of shape {samples.shape}")
    if not len(samples):
        raise ValueError("there are no samples; the audio is empty")
    if not np.isfinite(samples).all():
        raise ValueError("samples are not finite numbers; look for NaN in the audio")
