"""Several voices heard together."""

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
    """Adds recordings up, all from their beginning, into a 16-bit WAV file.

    Recordings with two channels keep them, if any has; more become one, see
    `samples.mono_weights`. The sum is as loud as its parts, or quieter where it would be louder
    than full scale. Memory does not grow with length.

    Args:
        paths: files with sound.
        outfile: where.

    Returns:
        `outfile`, at 48 kHz and as long as the longest.
    """
    peak = max((float(np.abs(block).max()) for block in _sums(paths)), default=0.0)
    gain = 1 / max(1.0, peak)
    with wave.open(os.fspath(outfile), "wb") as file:
        file.setnchannels(_channels(paths))
        file.setsampwidth(2)
        file.setframerate(RATE)
        for block in _sums(paths):
            file.writeframes(audio.to_int16(gain * block).astype("<i2").tobytes())
    return Path(outfile)


def _channels(paths: Sequence[str | os.PathLike]) -> int:
    stereo = False
    for path in paths:
        with containers.open_container(path) as container:
            layout = containers.audio_stream(container, path).codec_context.layout
            stereo |= layout.nb_channels == 2
    return 2 if stereo else 1


def _sums(paths: Sequence[str | os.PathLike]) -> Iterator[np.ndarray]:
    """Blocks (n, channels) of the sum."""
    channels = _channels(paths)
    voices = [_Blocks(path, channels) for path in paths]
    while present := [block for voice in voices if (block := voice.read()) is not None]:
        total = np.zeros((max(map(len, present)), channels), np.float32)
        for block in present:
            total[: len(block)] += block
        yield total


class _Blocks:
    """One recording at 48 kHz in blocks of a second, the last shorter."""

    def __init__(self, path: str | os.PathLike, channels: int) -> None:
        self._stream = SampleStream(path, packets.origin(path))
        self._weights = mono_weights(path)
        self._channels, self._held = channels, np.zeros((0, channels), np.float32)
        self._pieces = self._resampled()

    def read(self) -> np.ndarray | None:
        while len(self._held) < RATE and (piece := next(self._pieces, None)) is not None:
            self._held = np.concatenate([self._held, piece])
        block, self._held = self._held[:RATE], self._held[RATE:]
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
