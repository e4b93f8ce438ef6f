"""The voice of a live session: a buffer between its clock and the session's, and speech activity.

Samples are int16 mono at `SOUND_RATE`.
"""

from collections import deque
from fractions import Fraction

import numpy as np
import soxr

SOUND_RATE = 48_000  # samples a second; of Opus
BLOCK = 960  # samples, 20 ms; of Opus, too
_CAPACITY = 2.0  # seconds
_FILL = 0.06  # seconds collected before an utterance begins, against the jitter of a network
_SURPLUS = 0.25  # seconds; more is dropped where it is quiet
_QUIET = 300  # of 32768
_LEVEL_WINDOW = 150  # blocks in which the noise floor is the minimum
_MIN_LEVEL = -55.0  # decibels re full scale; quieter blocks are no speech
_MIN_RISE = 8.0  # decibels of speech above the noise floor
_AFTER, _BEFORE, _FADE = 15, 5, 6  # blocks: speech goes on after its end, begins earlier, fades


class VoiceBuffer:
    """Samples that arrive at their own pace, and are taken at the pace of the output's clock.

    Attributes:
        waits: whether the sender waits for room.
        dropped: samples that were dropped, as the buffer was full or grew in a pause.
        missing: samples taken in the midst of speech that had not arrived; they are zero.
    """

    def __init__(self, waits: bool = False) -> None:
        """Makes an empty buffer.

        Args:
            waits: whether the sender waits for `room`, as a speech synthesiser or a file can; a
                microphone can't, and a full buffer drops the oldest samples.
        """
        self.waits, self._parts, self._length = waits, deque[np.ndarray](), 0
        self._flowing, self._waited, self.dropped, self.missing = False, 0, 0, 0

    @property
    def seconds(self) -> float:
        """Seconds of audio in the buffer."""
        return self._length / SOUND_RATE

    @property
    def room(self) -> int:
        """Samples until the buffer is full."""
        return max(0, round(_CAPACITY * SOUND_RATE) - self._length)

    def push(self, samples: np.ndarray) -> None:
        """Adds samples, int16 (n,)."""
        if len(samples):
            self._parts.append(np.asarray(samples, np.int16))
            self._length += len(samples)
        if not self.waits and (surplus := self._length - round(_CAPACITY * SOUND_RATE)) > 0:
            self._pop(surplus)
            self.dropped += surplus

    def clear(self) -> None:
        """Forgets all samples, as when a speaker is interrupted."""
        self._parts.clear()
        self._length, self._flowing = 0, False

    def take(self, count: int = BLOCK) -> np.ndarray:
        """Returns the next samples, int16 (count,); zeros while too few have arrived."""
        if not self._flowing and self._length:
            self._waited += 1
            self._flowing = (
                self.seconds >= _FILL or self._waited * count >= _FILL * SOUND_RATE or self.waits
            )
        if not self._flowing:
            return np.zeros(count, np.int16)
        self._waited = 0
        samples = self._pop(min(count, self._length))
        if self._length == 0 and len(samples) < count:
            self._flowing = False
            if not self.waits:
                self.missing += count - len(samples)
        elif not self.waits and self.seconds > _SURPLUS and np.abs(samples).max() < _QUIET:
            # The sender's clock is faster than this one, or the network was away for a moment.
            samples = self._pop(count)
            self.dropped += count
        return np.pad(samples, (0, count - len(samples)))

    def _pop(self, count: int) -> np.ndarray:
        taken, missing = [], count
        while missing and self._parts:
            part = self._parts.popleft()
            if len(part) > missing:
                self._parts.appendleft(part[missing:])
            taken.append(part[:missing])
            missing -= len(taken[-1])
        self._length -= count - missing
        return np.concatenate(taken) if taken else np.zeros(0, np.int16)


class Resampler:
    """Converts chunks of any rate to mono samples of `SOUND_RATE`."""

    def __init__(self, rate: int) -> None:
        """Takes the rate of the chunks.

        Raises:
            ValueError: the rate is not between 8,000 and 192,000 a second.
        """
        if not 8_000 <= rate <= 192_000:
            raise ValueError(f"rate={rate}: give 8000 to 192000 samples a second")
        self._stream = (
            None if rate == SOUND_RATE else soxr.ResampleStream(rate, SOUND_RATE, 1, "int16", "HQ")
        )

    def __call__(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        """Returns samples of `SOUND_RATE`.

        Args:
            samples: int16 (n,) or (n, channels); channels are averaged.
            last: whether no more samples follow.
        """
        mono = samples if samples.ndim == 1 else samples.mean(axis=1).astype(np.int16)
        return mono if self._stream is None else self._stream.resample_chunk(mono, last=last)


class SpeechDetector:
    """Detects speech in blocks that arrive one by one, by their level above the noise floor.

    The floor is the lowest level of the last three seconds: constant noise is no speech.
    """

    def __init__(self) -> None:
        self._levels = deque[float](maxlen=_LEVEL_WINDOW)
        self._active, self._first = deque[bool](), 0  # the first one's block
        self._raw = deque([False, False], maxlen=2)
        self._window = np.hanning(BLOCK).astype(np.float32) / np.float32(0.5 * BLOCK)

    def add(self, block: np.ndarray) -> None:
        """Adds the next `BLOCK` samples."""
        spectrum = np.fft.rfft(block * self._window / np.float32(32768))[2:80]  # 100 to 4000 Hz
        level = 10 * np.log10(float(np.square(np.abs(spectrum)).sum()) / 0.75 + 1e-12)
        self._levels.append(level)
        is_loud = level > max(min(self._levels) + _MIN_RISE, _MIN_LEVEL)
        self._active.append(is_loud and any(self._raw))  # a click is short
        self._raw.append(is_loud)
        if len(self._active) > 4 * _LEVEL_WINDOW:
            self._active.popleft()
            self._first += 1

    def activity(self, moment: Fraction) -> float:
        """Returns the speech activity at a time, 0 to 1, with soft edges.

        Args:
            moment: seconds from the first sample; blocks until 0.16 s later are considered.
        """
        block = int(moment * SOUND_RATE // BLOCK)
        values = [self._is_near_speech(block + i) for i in range(-_FADE // 2, _FADE // 2)]
        return sum(values) / len(values)

    def _is_near_speech(self, block: int) -> bool:
        first = max(0, block - _AFTER - self._first)
        last = max(0, block + _BEFORE - self._first)
        return any(self._active[i] for i in range(first, min(last, len(self._active))))
