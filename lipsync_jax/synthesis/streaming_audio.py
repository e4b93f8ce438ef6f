"""Streaming audio at one rate, for the audio frontends of animation."""

from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from lipsync_jax.media import audio
from lipsync_jax.synthesis import driving_audio


class StreamingAudio:
    """Streaming audio at one rate: read as far as needed, discarded once used."""

    def __init__(self, chunks: Iterable[np.ndarray], rate: int, target_rate: int) -> None:
        """Stores the arguments; no chunk is consumed.

        Args:
            chunks: see `driving_audio.AudioChunks`.
            rate: samples a second of the chunks.
            target_rate: samples a second to resample to.
        """
        self._chunks = driving_audio.AudioChunks(chunks, rate)
        self._resampled = audio.resample_chunks(self._chunks, rate, target_rate)
        self._buffer, self._first, self._ended = np.empty(0, np.float32), 0, False

    def length(self, least: Fraction) -> Fraction:
        """Returns the seconds of the audio once it has ended; before, a number above `least`."""
        while not self._ended and self._chunks.seconds <= least:
            self._read_chunk()
        return self._chunks.seconds

    def read(self, first: int, last: int) -> np.ndarray:
        """Returns samples `first` to `last` - 1, float32, fewer at the end of the audio.

        Samples before `first` are discarded.
        """
        passed = min(max(first - self._first, 0), len(self._buffer))
        self._buffer, self._first = self._buffer[passed:], self._first + passed
        while not self._ended and self._first + len(self._buffer) < last:
            self._read_chunk()
        return self._buffer[max(first - self._first, 0) : max(last - self._first, 0)]

    def _read_chunk(self) -> None:
        chunk = next(self._resampled, None)
        if chunk is None:
            self._ended = True
        else:
            self._buffer = np.concatenate([self._buffer, chunk])
