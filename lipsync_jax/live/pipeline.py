"""From the voice to pictures and sound: one clock, one thread that generates, few frames between.

The output's clock counts from the first block of sound. The voice is taken from its buffer at the
pace of this clock: sample k at k / 48,000 s. Its sound is sent `delay` seconds later, and so is the
picture of that time; picture n is sent at n / frame_rate seconds. The sound never waits and is
never stretched. A frame that comes too late is dropped, and the picture before is repeated. Where
the machine can't even send the sound in time, the clock stands still.
"""

import contextlib
import dataclasses
import itertools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Protocol

import numpy as np

from lipsync_jax.live.voice import BLOCK, SOUND_RATE, SpeechDetector, VoiceBuffer
from lipsync_jax.media.video_reader import Frame

RESAMPLING = Fraction(42, 1000)  # seconds, from SOUND_RATE; see `StreamingDubber`
QUEUE = 3  # frames that wait to be sent
_RAISE = 3  # frames by which the delay may grow, once
_MAX_LATE = 0.1  # seconds by which sound may be late before the clock waits for it
_RECENT = 50  # pictures that decide on it
_MAX_REPEATED = 0.05  # of them


class LiveFace(Protocol):
    """A face that audio drives; `StreamingDubber` is one."""

    frame_rate: Fraction
    size: tuple[int, int]
    look_ahead: Fraction

    def stream(
        self,
        chunks: Iterable[np.ndarray],
        rate: int,
        *,
        is_wanted: Callable[[Fraction], bool] | None,
        speech: Callable[[Fraction], float] | None,
    ) -> Iterator[Frame]:
        """See `StreamingDubber.stream`."""


class Clock:
    """Seconds since the output began.

    Attributes:
        held: seconds by which the clock was set back.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._started, self.held = now, math.nan, 0.0

    def start(self) -> None:
        """Starts the clock, unless it runs."""
        if math.isnan(self._started):
            self._started = self._now()

    def hold(self, seconds: float) -> None:
        """Sets the clock back, where the sound could not be sent in time."""
        self._started += seconds
        self.held += seconds

    @property
    def is_running(self) -> bool:
        """Whether the clock was started."""
        return not math.isnan(self._started)

    @property
    def seconds(self) -> float:
        """Seconds since the start; 0 before."""
        return self._now() - self._started if self.is_running else 0.0


@dataclasses.dataclass
class Counts:
    """What happened to the frames of a session.

    Attributes:
        sent: pictures sent.
        generated: pictures sent for the first time.
        repeated: pictures sent again though a new one was due.
        late: frames that were generated too late, and dropped.
        left_out: frames that would have come too late, and were not generated.
    """

    sent: int = 0
    generated: int = 0
    repeated: int = 0
    late: int = 0
    left_out: int = 0


class Exchange:
    """Blocks of voice for the generating thread, and its frames for the senders.

    Attributes:
        waited: seconds of the clock that it has waited.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._blocks, self._frames = deque[np.ndarray](), deque[Frame]()
        self._closed, self.waited = False, 0.0
        self._awaited: Callable[[], bool] | None = None

    def add_block(self, block: np.ndarray) -> None:
        """Adds samples for the generating thread; none once the exchange is closed."""
        with self._changed:
            if not self._closed:
                self._blocks.append(block)
                self._changed.notify_all()

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields the samples until the exchange is closed."""
        while True:
            with self._changed:
                self._wait(lambda: bool(self._blocks))
                if self._closed:
                    return
                block = self._blocks.popleft()
            yield block

    def put(self, frame: Frame) -> bool:
        """Adds a frame once there is room; False if the exchange was closed."""
        with self._changed:
            self._wait(lambda: len(self._frames) < QUEUE)
            self._frames.append(frame)
            return not self._closed

    def take_until(self, moment: Fraction) -> list[Frame]:
        """Returns the frames up to a time, without waiting."""
        taken = []
        with self._changed:
            while self._frames and self._frames[0].time <= moment:
                taken.append(self._frames.popleft())
            self._changed.notify_all()
        return taken

    @property
    def is_waiting(self) -> bool:
        """Whether the generating thread waits in vain, for audio or for room."""
        with self._changed:
            return self._awaited is not None and not (self._closed or self._awaited())

    def close(self) -> None:
        """Ends the generating thread's loops."""
        with self._changed:
            self._closed = True
            self._blocks.clear()
            self._changed.notify_all()

    def _wait(self, condition: Callable[[], bool]) -> None:
        begun, self._awaited = self._clock.seconds, condition
        self._changed.wait_for(lambda: self._closed or condition())
        self._awaited = None
        self.waited += self._clock.seconds - begun


class Pipeline:
    """One session: the voice goes in, sound and pictures come out.

    `sound` and `picture` are called by one thread, in order, at the times that the clock says.

    Attributes:
        voice: the buffer that the voice is pushed to.
        clock: of the output.
        delay: seconds from the voice to its sound and picture.
        counts: see `Counts`.
        error: what ended the generation, or None.
        generation_seconds: of generating a frame with speech, a running mean.
    """

    def __init__(
        self,
        face: LiveFace,
        voice: VoiceBuffer,
        *,
        stride: int = 1,
        generation_seconds: float = 0.03,
        clock: Clock | None = None,
    ) -> None:
        """Makes a pipeline that waits for its first block of sound.

        Args:
            face: the face.
            voice: the buffer that the voice is pushed to.
            stride: generate every n-th frame; each is sent n times.
            generation_seconds: expected time of generating a frame.
            clock: of the output; `time.monotonic` by default.
        """
        self.face, self.voice, self.clock = face, voice, clock or Clock()
        self.counts = Counts()
        self.error: Exception | None = None
        self.generation_seconds, self._stride = generation_seconds, stride
        rate = face.frame_rate
        block = Fraction(BLOCK, SOUND_RATE)
        margin = max(Fraction(QUEUE) / rate, 2 * Fraction(generation_seconds))
        least = face.look_ahead + RESAMPLING + block + margin
        self.delay = Fraction(math.ceil(least * rate)) / rate
        self._exchange, self._detector = Exchange(self.clock), SpeechDetector()
        self._thread = threading.Thread(target=self._generate, name="live face", daemon=True)
        self._blocks, self._pictures = 0, 0
        self._sound, self._sound_start = np.zeros(0, np.int16), 0
        self._image = first_image(face)
        self._recent = deque[bool](maxlen=_RECENT)
        self._raised_until: Fraction | None = None  # time of the voice
        self._is_speaking, self._generated = False, False

    @property
    def is_speaking(self) -> bool:
        """Whether the voice, as it arrives, is speech."""
        return self._is_speaking

    def sound(self) -> np.ndarray:
        """Returns the next block of sound, int16 (`BLOCK`,), due at `sound_due`."""
        if not self._blocks:
            self.clock.start()
            self._thread.start()
        if (late := self.clock.seconds - self.sound_due) > _MAX_LATE:
            self.clock.hold(late)  # pictures wait for the sound; it does not skip
        block = self.voice.take()
        self._exchange.add_block(block)
        self._sound = np.concatenate([self._sound, block])
        start = self._blocks * BLOCK - round(self.delay * SOUND_RATE)
        self._blocks += 1
        # What lies before the stored samples is the delay itself, or was sent before it grew.
        silence = min(max(self._sound_start - start, 0), BLOCK)
        samples = self._sound[: BLOCK - silence]
        self._sound = self._sound[len(samples) :]
        self._sound_start += len(samples)
        return np.concatenate([np.zeros(silence, np.int16), samples])

    @property
    def sound_due(self) -> float:
        """Seconds of the clock at which the next block of sound is due."""
        return self._blocks * BLOCK / SOUND_RATE

    def picture(self, number: int) -> np.ndarray:
        """Returns picture `number`, uint8 RGB (height, width, 3), due at number / frame_rate.

        Numbers ascend; some may be left out.
        """
        period = 1 / self.face.frame_rate
        moment = number * period - self.delay
        if moment < 0:
            self.counts.sent += 1
            return self._image
        frames = self._exchange.take_until(moment + period / 4)
        newest = frames[-1] if frames else None
        is_new = newest is not None and newest.time > moment - period * 3 / 4
        if newest is not None and is_new:
            self._image = newest.image
        self.counts.sent += 1
        self.counts.generated += is_new
        self.counts.late += len(frames) - is_new
        is_due = not round(moment * self.face.frame_rate) % self._stride
        if is_due and not (self._raised_until is not None and moment < self._raised_until):
            self.counts.repeated += not is_new
            self._recent.append(not is_new)
            self._raise_delay(moment)
        return self._image

    def _raise_delay(self, moment: Fraction) -> None:
        """Raises the delay, once and in a pause, where many frames come late."""
        often = len(self._recent) == _RECENT and sum(self._recent) > _MAX_REPEATED * _RECENT
        if self._raised_until is None and often and not self._is_speaking:
            self.delay += _RAISE / self.face.frame_rate
            self._raised_until = moment + 1 / self.face.frame_rate
            self._recent.clear()

    def close(self) -> None:
        """Ends the thread; waits for it a second at most, as a batch can't be interrupted."""
        self._exchange.close()
        if self._thread.ident is not None:
            self._thread.join(1.0)

    @property
    def is_running(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def is_waiting(self) -> bool:
        """Whether the thread waits for audio, or for room for a frame."""
        return self._exchange.is_waiting

    def _generate(self) -> None:
        exchange = self._exchange
        try:
            frames = self.face.stream(
                self._detected(exchange.blocks()),
                SOUND_RATE,
                is_wanted=self._is_wanted,
                speech=self._speech,
            )
            with contextlib.closing(frames):  # type: ignore[type-var]
                while True:
                    begun, waited, self._generated = self.clock.seconds, exchange.waited, True
                    frame = next(frames, None)
                    if frame is None:
                        return
                    if self._generated:
                        spent = self.clock.seconds - begun - (exchange.waited - waited)
                        self.generation_seconds += (max(spent, 0.0) - self.generation_seconds) / 8
                    if not exchange.put(frame):
                        return
        except Exception as error:  # of the model, the device or the file: told in the figures
            logging.exception("the live face stopped")
            self.error = error
        finally:
            exchange.close()  # nobody takes the voice from it any more

    def _detected(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for block in blocks:
            self._detector.add(block)
            yield block

    def _speech(self, moment: Fraction) -> float:
        activity = self._detector.activity(moment)
        self._is_speaking = self._generated = activity > 0
        return activity

    def _is_wanted(self, moment: Fraction) -> bool:
        if round(moment * self.face.frame_rate) % self._stride:
            return False
        begins = max(self.clock.seconds, float(moment + self.face.look_ahead))
        if begins + self.generation_seconds <= float(moment + self.delay):
            return True
        self.counts.left_out += 1
        self.generation_seconds *= 0.9  # so that one slow frame does not stop the face for ever
        return False


def first_image(face: LiveFace) -> np.ndarray:
    """Returns the face's first frame without speech."""
    silence = itertools.repeat(np.zeros(BLOCK, np.int16), SOUND_RATE // BLOCK)
    frames = face.stream(silence, SOUND_RATE, is_wanted=None, speech=lambda _: 0.0)
    with contextlib.closing(frames):  # type: ignore[type-var]
        return next(frames).image
