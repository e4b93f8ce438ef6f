"""Mixes several recordings into one file."""

import os
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soxr

from lipsync_jax.media import audio, containers, packets
from lipsync_jax.media.samples import SampleStream, mono_weights, sum_channels

RATE = 48_000


def mix(paths: Sequence[str | os.PathLike], outfile: str | os.PathLike) -> Path:
    """Sums recordings, all from their beginning, into a 16-bit WAV file.

    The result is stereo if any recording is; recordings with more channels are mixed down, see
    `samples.mono_weights`. The sum is scaled down only where it would exceed full scale. Memory
    does not grow with length.

    Args:
        paths: files with audio.
        outfile: the WAV file.

    Returns:
        `outfile`, at 48 kHz and as long as the longest.
    """
    peak = max((float(np.abs(block).max()) for block in _summed_blocks(paths)), default=0.0)
    gain = 1 / max(1.0, peak)
    with wave.open(os.fspath(outfile), "wb") as file:
        file.setnchannels(_channels(paths))
        file.setsampwidth(2)
        file.setframerate(RATE)
        for block in _summed_blocks(paths):
            file.writeframes(audio.to_int16(gain * block).astype("<i2").tobytes())
    return Path(outfile)


def _channels(paths: Sequence[str | os.PathLike]) -> int:
    stereo = False
    for path in paths:
        with containers.open_container(path) as container:
            layout = containers.audio_stream(container, path).codec_context.layout
            stereo |= layout.nb_channels == 2
    return 2 if stereo else 1


def _summed_blocks(paths: Sequence[str | os.PathLike]) -> Iterator[np.ndarray]:
    """Yields the sum in blocks (n, channels)."""
    channels = _channels(paths)
    recordings = [_BlockReader(path, channels) for path in paths]
    while blocks := [block for recording in recordings if (block := recording.read()) is not None]:
        total = np.zeros((max(map(len, blocks)), channels), np.float32)
        for block in blocks:
            total[: len(block)] += block
        yield total


class _BlockReader:
    """Reads a recording at 48 kHz in blocks of a second; the last may be shorter."""

    def __init__(self, path: str | os.PathLike, channels: int) -> None:
        self._stream = SampleStream(path, packets.video_start_time(path))
        self._weights = mono_weights(path)
        self._channels, self._buffer = channels, np.zeros((0, channels), np.float32)
        self._chunks = self._resampled()

    def read(self) -> np.ndarray | None:
        while len(self._buffer) < RATE and (chunk := next(self._chunks, None)) is not None:
            self._buffer = np.concatenate([self._buffer, chunk])
        block, self._buffer = self._buffer[:RATE], self._buffer[RATE:]
        return block if len(block) else None

    def _resampled(self) -> Iterator[np.ndarray]:
        resampler = soxr.ResampleStream(self._stream.rate, RATE, self._channels, quality="HQ")
        for chunk in self._stream:
            if chunk.shape[1] != self._channels:
                chunk = np.repeat(
                    sum_channels(chunk, self._weights)[:, None], self._channels, axis=1
                )
            yield resampler.resample_chunk(np.ascontiguousarray(chunk))
        yield resampler.resample_chunk(np.zeros((0, self._channels), np.float32), last=True)
