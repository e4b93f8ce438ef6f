"""Faces without a network, and a clock that stands still, for tests of live sessions."""

import threading
from fractions import Fraction

import numpy as np

from lipsync_jax.media.video_reader import Frame

_CODE_BITS = 16
LOUD = 1 << 15  # the bit of a code that says that the frame's audio has a click


class ManualClock:
    """Seconds that a test sets; `sleep` lets a thread wait for them."""

    def __init__(self):
        self._changed, self.time, self.sleeping = threading.Condition(), 0.0, False

    def __call__(self):
        return self.time

    def set(self, seconds):
        with self._changed:
            self.time = seconds
            # A thread that this time releases no longer waits, also before it has run.
            self.sleeping = self.sleeping and seconds < self._until
            self._changed.notify_all()

    def sleep(self, seconds):
        if seconds <= 0:
            return
        with self._changed:
            self._until, self.sleeping = self.time + seconds, True
            self._changed.wait_for(lambda: self.time >= self._until - 1e-9)
            self.sleeping = False


class CodedFace:
    """Frames that show as blocks their number, and whether a click is in their audio.

    Each needs the audio until `look_ahead` later.
    """

    def __init__(self, size=(256, 64), frame_rate=Fraction(25), cost=lambda index: 0.0, sleep=None):
        self.size, self.frame_rate, self.look_ahead = size, frame_rate, Fraction(21, 100)
        self._cost, self._sleep = cost, sleep

    def stream(self, chunks, rate=16_000, *, is_wanted=None, speech=None):
        received, index, chunks, clicks = 0, 0, iter(chunks), []
        while True:
            moment = index / self.frame_rate
            if is_wanted is None or is_wanted(moment):
                while Fraction(received, rate) < moment + self.look_ahead:
                    chunk = next(chunks, None)
                    if chunk is None:
                        return
                    if (loud := np.flatnonzero(np.abs(chunk) > 10_000)).size:
                        clicks.append(Fraction(received + int(loud[0]), rate))
                    received += len(chunk)
                if (speech is None or speech(moment) > 0) and self._sleep:
                    self._sleep(self._cost(index))
                has_click = any(0 <= click - moment < 1 / self.frame_rate for click in clicks)
                clicks = [click for click in clicks if click >= moment]
                code = index | LOUD * has_click
                yield Frame(moment, write_code(code, self.size), index)
            index += 1


def write_code(number, size):
    """Returns an image (height, width, 3) with the bits of a number as black and white columns."""
    bits = (number >> np.arange(_CODE_BITS)) & 1
    row = np.repeat(bits.astype(np.uint8) * 200 + 20, size[0] // _CODE_BITS)
    image = np.broadcast_to(np.pad(row, (0, size[0] - len(row)))[None, :, None], (*size[::-1], 3))
    return np.ascontiguousarray(image)


def read_code(image):
    """Returns the number of an image, also after lossy compression."""
    middle = image[image.shape[0] // 4 : -image.shape[0] // 4].mean(axis=(0, 2))
    width = image.shape[1] // _CODE_BITS
    bits = middle[: width * _CODE_BITS].reshape(_CODE_BITS, width)[:, width // 4 : -width // 4]
    return int(sum(int(bit.mean() > 120) << i for i, bit in enumerate(bits)))
