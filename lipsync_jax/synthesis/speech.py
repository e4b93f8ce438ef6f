"""The driving voice: its mel spectrogram and its length, read in pieces."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import scipy.ndimage
import soxr

from lipsync_jax import audio, containers

_BLOCK = 2048  # mel columns computed at once, 25.6 s
_MARGIN = 3  # columns at a block's edges that its window or pre-emphasis can't see whole
_GATE_RATE = 100  # decisions a second on whether there is a voice
_GATE_MARGIN = 0.12  # seconds around a voice in which lips still move
_FADE = 0.16  # seconds from one to the other


@dataclasses.dataclass(frozen=True)
class Speech:
    """What a method hears of a recording.

    Attributes:
        path: the file.
        mel: float32 (columns, 80), see `audio.mel_spectrogram`; column c is centred on c / 80 s.
        duration: seconds, exact. Where the file has a picture too, time 0 is its first frame's,
            else the first sample's.
    """

    path: str
    mel: np.ndarray
    duration: Fraction


def load(path: str | os.PathLike) -> Speech:
    """Reads a recording; memory grows by its mel spectrogram only, 26 kB a second.

    Args:
        path: any file with sound that FFmpeg reads.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: unreadable, without sound, or samples that are not finite.
    """
    length = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal length
        for chunk in chunks:
            length += len(chunk)
            yield chunk

    rate, chunks = _mono(path)
    mel = np.concatenate([*_mel_blocks(_resampled(counted(), rate))] or [np.empty((0, 80))])
    if not length:
        raise ValueError(f"{path}: its audio stream holds no sound; choose another recording")
    return Speech(os.fspath(path), mel, Fraction(length, rate))


def voice_gate(path: str | os.PathLike, times: Sequence[Fraction]) -> np.ndarray:
    """When someone speaks, see `audio.speech_activity`, with soft edges.

    Args:
        path: the recording.
        times: ascending seconds to look at.

    Returns:
        float32 (len(times),): 1 while there is a voice and shortly before and after, 0 in pauses.
    """
    rate, chunks = _mono(path)
    samples = np.concatenate([*_resampled(chunks, rate)])
    count = int(times[-1] * _GATE_RATE) + 1
    active = audio.speech_activity(samples, audio.SAMPLE_RATE, _GATE_RATE, count)
    reach, fade = (round(seconds * _GATE_RATE) for seconds in (_GATE_MARGIN + _FADE / 2, _FADE))
    wide = scipy.ndimage.maximum_filter1d(active.astype(np.float32), 2 * reach + 1)
    soft = scipy.ndimage.uniform_filter1d(wide, fade + 1, mode="nearest")
    return np.clip(soft[[int(time * _GATE_RATE) for time in times]], 0, 1)


def _mono(path: str | os.PathLike) -> tuple[int, Iterator[np.ndarray]]:
    """A recording's rate and its samples, the mean of its channels."""
    stream = containers.SampleStream(path, containers.origin(path))

    def mono() -> Iterator[np.ndarray]:
        for chunk in stream:
            if not np.isfinite(chunk).all():
                raise ValueError(f"{path} holds samples that are not finite; export it again")
            yield chunk.mean(axis=1)

    return stream.rate, mono()


def _resampled(chunks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    if rate == audio.SAMPLE_RATE:
        yield from chunks
        return
    resampler = soxr.ResampleStream(rate, audio.SAMPLE_RATE, 1, quality="HQ")
    for chunk in chunks:
        yield resampler.resample_chunk(chunk)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _mel_blocks(chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """`audio.mel_spectrogram` of all chunks together, block by block."""
    held, kept, skip = [], 0, 0  # samples not yet done with; leading columns already given
    for chunk in chunks:
        held.append(chunk)
        kept += len(chunk)
        if kept < (_BLOCK + 2 * _MARGIN + skip) * audio.MEL_HOP:
            continue
        samples = np.concatenate(held)
        end = len(samples) // audio.MEL_HOP - _MARGIN
        yield audio.mel_spectrogram(samples)[skip:end]
        held, skip = [samples[(end - _MARGIN) * audio.MEL_HOP :]], _MARGIN
        kept = len(held[0])
    if kept:
        yield audio.mel_spectrogram(np.concatenate(held))[skip:]
