"""Driving audio: features and duration, read in chunks from a file or a stream."""

import os
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

import numpy as np

from lipsync_jax.data import windows
from lipsync_jax.data.audio_features import MEL, AudioFeatureSpec
from lipsync_jax.media import audio, packets, speech_activity
from lipsync_jax.media.samples import SampleStream, mono_weights, sum_channels

_BLOCK = 4  # columns computed at once, 50 ms of mel: streaming waits for a full block
_VAD_RATE = 100  # speech decisions a second
_VAD_MARGIN = 0.12  # seconds before and after speech in which lips still move
_VAD_FADE = 0.16  # seconds of the fade


class DrivingAudio:
    """A recording, of which the audio features near the last windows are in memory.

    Attributes:
        path: the file.
        duration: seconds, exact. Where the file has a video stream, time 0 is the time of the first
            frame, else of the first sample.
        notes: defects of the file, a sentence each.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        duration: Fraction,
        feature_spec: AudioFeatureSpec = MEL,
        notes: tuple[str, ...] = (),
    ) -> None:
        """Takes what `load` read."""
        self.path, self.duration, self.notes = os.fspath(path), duration, notes
        self._feature_spec = feature_spec
        self._features: StreamingFeatures | None = None

    def length(self, least: Fraction) -> Fraction:
        """Returns the duration in seconds."""
        del least
        return self.duration

    def windows(self, starts: np.ndarray) -> np.ndarray:
        """Returns the windows that start at these columns, float32 (n, window, bins).

        Column c is at c / rate s. An earlier column than the first of the call before reads the
        file from its start.
        """
        if self._features is None or max(int(np.min(starts)), 0) < self._features.first:
            rate, chunks = read_mono_chunks(self.path)
            self._features = StreamingFeatures(chunks, rate, self._feature_spec)
        return self._features.windows(starts)


class AudioChunks:
    """Streaming audio in chunks: an iterable of mono samples that counts them."""

    def __init__(self, chunks: Iterable[np.ndarray], rate: int) -> None:
        """Stores the arguments; no chunk is consumed.

        Args:
            chunks: samples in chunks of any length, int16 or float (full scale 1), (samples,) or
                (samples, channels).
            rate: samples a second.
        """
        self._chunks, self._rate, self._received = chunks, rate, 0

    @property
    def seconds(self) -> Fraction:
        """Seconds received so far."""
        return Fraction(self._received, self._rate)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields float32 (samples,), the mean of the channels; ValueError if they aren't finite."""
        for chunk in self._chunks:
            chunk = np.asarray(chunk)
            full = 32768 if chunk.dtype == np.int16 else 1
            samples = chunk.astype(np.float32) / np.float32(full)
            samples = samples if samples.ndim == 1 else samples.mean(axis=1)
            if not np.isfinite(samples).all():
                raise ValueError("the streaming audio has samples that are not finite numbers")
            self._received += len(samples)
            yield samples


def look_ahead(feature_spec: AudioFeatureSpec, audio_offset: str = "corrected") -> Fraction:
    """Returns the seconds of audio after a frame's time that the frame may need, at most.

    Args:
        feature_spec: which audio features; they are computed in blocks of columns.
        audio_offset: see `AudioFeatureSpec.window_starts`.

    Raises:
        ValueError: no such audio offset.
    """
    lookback = windows.lookback_of(audio_offset, feature_spec.lookback)
    # The last column of a window may be the first of its block.
    columns = feature_spec.window - 1 + _BLOCK + feature_spec.right_context
    return Fraction(columns, feature_spec.rate) - lookback


class StreamingFeatures:
    """Audio features of streaming audio; chunks are consumed only as far as windows need them.

    The features are bit for bit those of equal samples in a file, see `load`.
    """

    def __init__(
        self, chunks: Iterable[np.ndarray], rate: int, feature_spec: AudioFeatureSpec = MEL
    ) -> None:
        """Stores the arguments; no chunk is consumed.

        Args:
            chunks: samples in chunks of any length, int16 or float (full scale 1), (samples,) or
                (samples, channels).
            rate: samples a second.
            feature_spec: which audio features to compute.
        """
        self._audio_chunks, self._ended = AudioChunks(chunks, rate), False
        self._buffer, self._first = np.empty((0, feature_spec.bins), np.float32), 0
        self._feature_spec, self._blocks = (
            feature_spec,
            _feature_blocks(audio.resample_chunks(self._audio_chunks, rate), feature_spec),
        )

    @property
    def first(self) -> int:
        """The first column in memory; earlier ones are discarded."""
        return self._first

    def length(self, least: Fraction) -> Fraction:
        """Returns the seconds of the audio once it has ended; before, a number above `least`."""
        while not self._ended and self._audio_chunks.seconds <= least:
            self._read_block()
        return self._audio_chunks.seconds

    def windows(self, starts: np.ndarray) -> np.ndarray:
        """See `DrivingAudio.windows`; features before the first start are discarded."""
        last = int(np.max(starts)) + self._feature_spec.window
        while True:
            self.discard_before(int(np.min(starts)))
            if self._ended or self._first + len(self._buffer) >= last:
                break
            self._read_block()
        return self._feature_spec.gather(self._buffer, np.asarray(starts) - self._first)

    def discard_before(self, column: int) -> None:
        """Frees the columns before this one, which no later window needs."""
        passed = min(max(column - self._first, 0), len(self._buffer))
        self._buffer, self._first = self._buffer[passed:], self._first + passed

    def _read_block(self) -> None:
        block = next(self._blocks, None)
        if block is None:
            self._ended = True
        else:
            self._buffer = np.concatenate([self._buffer, block])


def load(path: str | os.PathLike, feature_spec: AudioFeatureSpec = MEL) -> DrivingAudio:
    """Reads a recording to its end; memory does not grow with length.

    Args:
        path: any file with audio that FFmpeg reads.
        feature_spec: which audio features to compute, when windows need them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is unreadable, has no audio, or has samples that are not finite.
    """
    stream, chunks = open_mono_stream(path)
    length = sum(map(len, chunks))
    _require_samples(path, length)
    return DrivingAudio(path, Fraction(length, stream.rate), feature_spec, notes(stream))


def duration(path: str | os.PathLike) -> Fraction:
    """Returns the exact seconds of a recording, read to its end; see `load` for what it raises."""
    return load(path).duration


def vad_envelope(path: str | os.PathLike) -> Callable[[Fraction], float]:
    """Detects speech (voice activity detection), see `speech_activity.detect`, with soft edges.

    Memory does not grow with length, but for 100 numbers a second.

    Args:
        path: the recording.

    Returns:
        A function of the time in seconds: 1 during speech and shortly before and after, 0 in
        pauses and after the end.
    """
    import scipy.ndimage

    rate, chunks = read_mono_chunks(path)
    length = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal length
        for chunk in audio.resample_chunks(chunks, rate):
            length += len(chunk)
            yield chunk

    levels = speech_activity.levels(counted(), audio.SAMPLE_RATE)
    margin, fade = (
        round(seconds * _VAD_RATE) for seconds in (_VAD_MARGIN + _VAD_FADE / 2, _VAD_FADE)
    )
    count = length * _VAD_RATE // audio.SAMPLE_RATE + 2 * margin
    active = speech_activity.active_frames(levels, _VAD_RATE, count)
    widened = scipy.ndimage.maximum_filter1d(active.astype(np.float32), 2 * margin + 1)
    envelope = np.clip(scipy.ndimage.uniform_filter1d(widened, fade + 1, mode="nearest"), 0, 1)
    return lambda time: float(envelope[min(int(time * _VAD_RATE), count - 1)])


def _require_samples(path: str | os.PathLike, length: int) -> None:
    if not length:
        raise ValueError(f"{path}: the audio stream has no samples; give another recording")


def read_mono_chunks(path: str | os.PathLike) -> tuple[int, Iterator[np.ndarray]]:
    """Returns a recording's rate, and its mono samples in chunks; see `load`."""
    stream, chunks = open_mono_stream(path)
    return stream.rate, chunks


def open_mono_stream(path: str | os.PathLike) -> tuple[SampleStream, Iterator[np.ndarray]]:
    """Returns a recording's stream, and its mono samples in chunks; see `load`."""
    stream, weights = SampleStream(path, packets.video_start_time(path)), mono_weights(path)

    def mono_chunks() -> Iterator[np.ndarray]:
        for chunk in stream:
            if not np.isfinite(chunk).all():
                raise ValueError(
                    f"{path} has samples that are not finite; export the recording again"
                )
            yield sum_channels(chunk, weights)

    return stream, mono_chunks()


def notes(stream: SampleStream) -> tuple[str, ...]:
    """Returns the losses of a stream that was read, a sentence each."""
    if not stream.lost:
        return ()
    return (
        f"{stream.path}: {float(stream.lost):.2f} s of the audio can't be decoded and are lost",
    )


def _feature_blocks(
    chunks: Iterable[np.ndarray], feature_spec: AudioFeatureSpec
) -> Iterator[np.ndarray]:
    """Yields the features of all chunks together, block by block.

    Blocks don't depend on the division into chunks, so neither does their rounding.
    """
    buffer, skip = np.empty(0, np.float32), 0  # samples still needed; columns already yielded
    for chunk in chunks:
        buffer = np.concatenate([buffer, chunk])
        while len(buffer) >= (
            needed := (skip + _BLOCK + feature_spec.right_context) * feature_spec.hop
        ):
            yield feature_spec.compute(buffer[:needed])[skip : skip + _BLOCK]
            buffer = buffer[(skip + _BLOCK - feature_spec.left_context) * feature_spec.hop :]
            skip = feature_spec.left_context
    if len(buffer):
        yield feature_spec.compute(buffer)[skip:]
