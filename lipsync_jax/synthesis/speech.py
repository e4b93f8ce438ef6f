"""The driving voice: its mel spectrogram and its length, read in pieces."""

import dataclasses
import os
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import soxr

from lipsync_jax import audio, containers

_BLOCK = 2048  # mel columns computed at once, 25.6 s
_MARGIN = 3  # columns at a block's edges that its window or pre-emphasis can't see whole


@dataclasses.dataclass(frozen=True)
class Speech:
    """What a method hears of a recording.

    Attributes:
        path: the file.
        mel: float32 (columns, 80), see `audio.mel_spectrogram`; column c is centred on c / 80 s.
        duration: seconds, exact.
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
    stream = containers.SampleStream(path)
    length = 0

    def mono() -> Iterator[np.ndarray]:
        nonlocal length
        for chunk in stream:
            if not np.isfinite(chunk).all():
                raise ValueError(f"{path} holds samples that are not finite; export it again")
            length += len(chunk)
            yield chunk.mean(axis=1)

    mel = np.concatenate([*_mel_blocks(_resampled(mono(), stream.rate))] or [np.empty((0, 80))])
    if not length:
        raise ValueError(f"{path}: its audio stream holds no sound; choose another recording")
    return Speech(os.fspath(path), mel, Fraction(length, stream.rate))


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
