"""The driving voice: its spectrum and its length, read in pieces, from a file or live."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

import numpy as np
import soxr

from lipsync_jax.data.audio_features import MEL, Spectrum
from lipsync_jax.media import audio, packets
from lipsync_jax.media.samples import SampleStream, mono_weights, sum_channels

_BLOCK = 4  # columns computed at once, 50 ms of mel: a live voice must wait for so many
_GATE_RATE = 100  # decisions a second on whether there is a voice
_GATE_MARGIN = 0.12  # seconds around a voice in which lips still move
_FADE = 0.16  # seconds from one to the other


@dataclasses.dataclass(frozen=True)
class Speech:
    """What a method hears of a recording.

    Attributes:
        path: the file.
        mel: float32 (columns, bins), the spectrum; column c is at c / rate s.
        duration: seconds, exact. Where the file has a picture too, time 0 is its first frame's,
            else the first sample's.
        hears: which spectrum it is.
        notes: what was wrong with the file though it is used.
    """

    path: str
    mel: np.ndarray
    duration: Fraction
    hears: Spectrum = MEL
    notes: tuple[str, ...] = ()

    def length(self, least: Fraction) -> Fraction:
        """Seconds of the recording."""
        del least
        return self.duration

    def windows(self, starts: np.ndarray) -> np.ndarray:
        """What is heard from each of these columns on, float32 (n, window, bins)."""
        return self.hears.take(self.mel, starts)


class Incoming:
    """A voice that comes in pieces: an iterable of its mono samples, which counts them."""

    def __init__(self, chunks: Iterable[np.ndarray], rate: int) -> None:
        """Takes nothing yet.

        Args:
            chunks: samples in pieces of any length, int16 or float (full scale 1), (samples,) or
                (samples, channels).
            rate: samples a second.
        """
        self._chunks, self._rate, self._received = chunks, rate, 0

    @property
    def seconds(self) -> Fraction:
        """How much has come so far."""
        return Fraction(self._received, self._rate)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields float32 (samples,), the mean of the channels; ValueError if they aren't finite."""
        for chunk in self._chunks:
            chunk = np.asarray(chunk)
            full = 32768 if chunk.dtype == np.int16 else 1
            samples = chunk.astype(np.float32) / np.float32(full)
            samples = samples if samples.ndim == 1 else samples.mean(axis=1)
            if not np.isfinite(samples).all():
                raise ValueError("the live voice has samples that are not finite numbers")
            self._received += len(samples)
            yield samples


class Live:
    """A voice that is still coming: it is listened to as far as is asked for, and no further.

    What it hears is bit for bit what `load` hears of the same samples in a file.
    """

    def __init__(self, chunks: Iterable[np.ndarray], rate: int, hears: Spectrum = MEL) -> None:
        """Starts listening.

        Args:
            chunks: samples in pieces of any length, int16 or float (full scale 1), (samples,) or
                (samples, channels).
            rate: samples a second.
            hears: which spectrum of it is wanted.
        """
        self._incoming, self._ended = Incoming(chunks, rate), False
        self._known, self._first = np.empty((0, hears.bins), np.float32), 0
        self._hears, self._blocks = hears, _blocks(resampled(self._incoming, rate), hears)

    def length(self, least: Fraction) -> Fraction:
        """Seconds of the voice if it has ended; until then, some number above `least`."""
        while not self._ended and self._incoming.seconds <= least:
            self._listen()
        return self._incoming.seconds

    def windows(self, starts: np.ndarray) -> np.ndarray:
        """See `Speech.windows`; what was heard before the first start is forgotten."""
        passed = min(max(int(np.min(starts)) - self._first, 0), len(self._known))
        self._known, self._first = self._known[passed:], self._first + passed
        last = int(np.max(starts)) + self._hears.window
        while not self._ended and self._first + len(self._known) < last:
            self._listen()
        return self._hears.take(self._known, np.asarray(starts) - self._first)

    def _listen(self) -> None:
        block = next(self._blocks, None)
        if block is None:
            self._ended = True
        else:
            self._known = np.concatenate([self._known, block])


def load(path: str | os.PathLike, hears: Spectrum = MEL) -> Speech:
    """Reads a recording; memory grows by its spectrum only, 26 kB a second of mel.

    Args:
        path: any file with sound that FFmpeg reads.
        hears: which spectrum of it is wanted.

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

    stream, chunks = open_mono(path)
    rate = stream.rate
    blocks = [*_blocks(resampled(counted(), rate), hears)]
    mel = np.concatenate(blocks or [np.empty((0, hears.bins), np.float32)])
    _check_length(path, length)
    return Speech(os.fspath(path), mel, Fraction(length, rate), hears, notes(stream))


def duration(path: str | os.PathLike) -> Fraction:
    """Exact seconds of a recording, which is read to its end; see `load` for what it raises."""
    rate, chunks = mono(path)
    length = sum(map(len, chunks))
    _check_length(path, length)
    return Fraction(length, rate)


def voice_gate(path: str | os.PathLike) -> Callable[[Fraction], float]:
    """When someone speaks, see `audio.speech_activity`, with soft edges.

    Args:
        path: the recording.

    Returns:
        A function of the time in seconds: 1 while there is a voice and shortly before and after, 0
        in pauses and after the end.
    """
    import scipy.ndimage

    rate, chunks = mono(path)
    samples = np.concatenate([*resampled(chunks, rate)])
    reach, fade = (round(seconds * _GATE_RATE) for seconds in (_GATE_MARGIN + _FADE / 2, _FADE))
    count = len(samples) * _GATE_RATE // audio.SAMPLE_RATE + 2 * reach
    active = audio.speech_activity(samples, audio.SAMPLE_RATE, _GATE_RATE, count)
    wide = scipy.ndimage.maximum_filter1d(active.astype(np.float32), 2 * reach + 1)
    soft = np.clip(scipy.ndimage.uniform_filter1d(wide, fade + 1, mode="nearest"), 0, 1)
    return lambda time: float(soft[min(int(time * _GATE_RATE), count - 1)])


def _check_length(path: str | os.PathLike, length: int) -> None:
    if not length:
        raise ValueError(f"{path}: its audio stream holds no sound; choose another recording")


def mono(path: str | os.PathLike) -> tuple[int, Iterator[np.ndarray]]:
    """A recording's rate, and its samples in pieces, one channel; see `load`."""
    stream, pieces = open_mono(path)
    return stream.rate, pieces


def open_mono(path: str | os.PathLike) -> tuple[SampleStream, Iterator[np.ndarray]]:
    """A recording's stream, and its samples in pieces, one channel; see `load`."""
    stream, weights = SampleStream(path, packets.origin(path)), mono_weights(path)

    def pieces() -> Iterator[np.ndarray]:
        for chunk in stream:
            if not np.isfinite(chunk).all():
                raise ValueError(f"{path} holds samples that are not finite; export it again")
            yield sum_channels(chunk, weights)

    return stream, pieces()


def notes(stream: SampleStream) -> tuple[str, ...]:
    """What is lost of a stream that was read, a sentence each."""
    if not stream.lost:
        return ()
    return (f"{stream.path}: {float(stream.lost):.2f} s of its sound can't be read and are lost",)


def resampled(
    chunks: Iterable[np.ndarray], rate: int, wanted: int = audio.SAMPLE_RATE
) -> Iterator[np.ndarray]:
    """A voice in pieces at another rate; the same samples however it is divided."""
    if rate == wanted:
        yield from chunks
        return
    resampler = soxr.ResampleStream(rate, wanted, 1, quality="HQ")
    for chunk in chunks:
        yield resampler.resample_chunk(chunk)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _blocks(chunks: Iterable[np.ndarray], hears: Spectrum) -> Iterator[np.ndarray]:
    """The spectrum of all chunks together, block by block.

    Blocks don't depend on how the samples are divided into chunks, so neither do their last bits.
    """
    held, skip = np.empty(0, np.float32), 0  # samples not yet done with; columns already given
    for chunk in chunks:
        held = np.concatenate([held, chunk])
        while len(held) >= (needed := (skip + _BLOCK + hears.after) * hears.hop):
            yield hears.compute(held[:needed])[skip : skip + _BLOCK]
            held = held[(skip + _BLOCK - hears.before) * hears.hop :]
            skip = hears.before
    if len(held):
        yield hears.compute(held)[skip:]
