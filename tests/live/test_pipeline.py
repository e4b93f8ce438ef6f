import time
from fractions import Fraction

import numpy as np
import pytest

from lipsync_jax.live.pipeline import Clock, Pipeline
from lipsync_jax.live.voice import BLOCK, SOUND_RATE, VoiceBuffer
from tests.helpers.live_faces import CodedFace, ManualClock, read_code


def voice_of(block, is_speech=lambda block: True):
    """Returns a block of noise as loud as speech, with the pauses between its words; or silence."""
    if not is_speech(block):
        return np.zeros(BLOCK, np.int16)
    noise = np.random.default_rng(block).integers(-3000, 3000, BLOCK)
    return (noise * (0.01 if block % 25 < 3 else 1)).astype(np.int16)


class Session:
    """Sends sound and pictures at the times of a manual clock."""

    def __init__(self, cost=lambda index: 0.0, is_speech=lambda block: True, **options):
        self.now = ManualClock()
        face = CodedFace(cost=cost, sleep=self.now.sleep)
        self.pipeline = Pipeline(
            face, VoiceBuffer(waits=True), clock=Clock(self.now), generation_seconds=0.0, **options
        )
        self.is_speech, self.blocks, self.pictures = is_speech, 0, 0
        self.sent, self.sound = [], []

    def run(self, pictures, until=lambda session: False):
        for _ in range(pictures):
            for _ in range(2):
                self.now.set(self.blocks * 0.02)
                self.pipeline.voice.push(voice_of(self.blocks, self.is_speech))
                self.sound.append(self.pipeline.sound())
                self.blocks += 1
                self.settle()
            self.sent.append(self.pipeline.picture(self.pictures))
            self.pictures += 1
            self.settle()

    def settle(self):
        """Waits until the generating thread waits for this one."""
        deadline = time.monotonic() + 10
        while not (self.pipeline.is_waiting or self.now.sleeping):
            assert self.pipeline.error is None and time.monotonic() < deadline
            time.sleep(0)

    def close(self):
        self.pipeline._exchange.close()
        self.now.set(1e9)
        self.pipeline.close()
        assert not self.pipeline.is_running


@pytest.fixture
def session():
    sessions = []

    def make(*args, **options):
        sessions.append(Session(*args, **options))
        return sessions[-1]

    yield make
    for made in sessions:
        made.close()


@pytest.mark.parametrize("pictures", [400, pytest.param(10_000, marks=pytest.mark.slow)])
def test_pictures_and_their_sound_stay_together(session, pictures):
    live = session(is_speech=lambda block: block % 500 < 300)
    live.run(pictures)
    delay = round(live.pipeline.delay * 25)
    assert live.pipeline.delay == Fraction(delay, 25) and delay == 10
    codes = [read_code(image) for image in live.sent]
    assert codes[delay:] == [*range(pictures - delay)]
    sound = np.concatenate(live.sound)
    voice = np.concatenate([voice_of(i, live.is_speech) for i in range(live.blocks)])
    lag = delay * SOUND_RATE // 25
    np.testing.assert_array_equal(sound[lag:], voice[:-lag])
    assert not sound[:lag].any()
    counts = live.pipeline.counts
    assert counts.repeated == counts.late == counts.left_out == 0
    assert counts.sent == pictures and counts.generated == pictures - delay


def test_no_more_frames_wait_than_the_queue_has(session):
    live = session()
    live.run(50)
    assert len(live.pipeline._exchange._frames) <= 3


def test_a_slow_frame_is_dropped_and_the_last_one_repeated(session):
    live = session(cost=lambda index: 0.6 if index == 100 else 0.0)
    live.run(200)
    delay = round(live.pipeline.delay * 25)
    codes = np.array([read_code(image) for image in live.sent[delay:]])
    lag = np.arange(len(codes)) - codes
    assert not lag[:100].any() and not lag[130:].any()
    assert lag.min() == 0  # no picture comes before its sound
    assert (codes[100:112] == 99).any() and not (codes == 100).any()
    counts = live.pipeline.counts
    assert counts.late >= 1 and counts.left_out >= 1
    assert counts.repeated == (lag > 0).sum()
    np.testing.assert_array_equal(
        np.concatenate(live.sound)[delay * 1920 :][: 200 * 960], voice_samples(200 * 960)
    )


def voice_samples(count):
    return np.concatenate([voice_of(i) for i in range(count // BLOCK)])


def test_a_machine_at_half_the_rate_shows_every_second_frame_in_time(session):
    live = session(cost=lambda index: 0.06)
    live.run(300)
    delay = round(live.pipeline.delay * 25)
    lag = np.arange(300 - delay) - [read_code(image) for image in live.sent[delay:]]
    assert lag[100:].max() <= 2 and (lag[100:] == 0).mean() > 0.45
    assert live.pipeline.counts.late < 10  # hopeless frames are not even generated


def test_a_stride_generates_every_second_frame_and_repeats_none(session):
    live = session(stride=2)
    live.run(100)
    delay = round(live.pipeline.delay * 25)
    codes = [read_code(image) for image in live.sent[delay:]]
    assert codes == [i - i % 2 for i in range(100 - delay)]
    assert live.pipeline.counts.repeated == 0


def test_nothing_is_generated_while_nobody_speaks(session):
    generated = []

    def cost(index):
        generated.append(index)
        return 0.001

    live = session(cost=cost, is_speech=lambda block: 200 <= block < 300)
    live.run(350)
    # Speech from 4 to 6 s: 0.16 s before and 0.36 s after for the lips' own movements.
    assert 4 * 25 - 5 <= generated[0] <= 4 * 25 and 6 * 25 <= generated[-1] <= 6 * 25 + 10
    assert live.pipeline.counts.repeated == 0


def test_the_delay_grows_once_and_only_in_a_pause(session):
    live = session(
        cost=lambda index: 0.15 if index % 5 == 0 and index < 500 else 0.0,
        is_speech=lambda block: not 400 <= block < 480,
    )
    before = live.pipeline.delay
    live.run(190)
    assert live.pipeline.delay == before
    live.run(300)
    assert live.pipeline.delay == before + Fraction(3, 25)
    live.run(300)
    assert live.pipeline.delay == before + Fraction(3, 25)
    lag = 790 - round(live.pipeline.delay * 25) - 1 - read_code(live.sent[-1])
    assert lag == 0
    sound = np.concatenate(live.sound)
    tail = round(live.pipeline.delay * SOUND_RATE)
    voice = np.concatenate([voice_of(i, live.is_speech) for i in range(live.blocks)])
    np.testing.assert_array_equal(sound[-SOUND_RATE:], voice[:-tail][-SOUND_RATE:])


def test_pictures_wait_for_a_sound_that_was_late(session):
    live = session()
    live.run(50)
    live.now.set(live.now.time + 0.73)
    live.pipeline.sound()
    assert live.pipeline.clock.held == pytest.approx(0.71)
    assert live.pipeline.clock.seconds == pytest.approx(2.0)  # when the sound was due


def test_a_failing_face_ends_the_thread_and_the_sound_goes_on(session):
    live = session(cost=lambda index: 1 / 0 if index >= 3 else 0.0)
    live.run(3)
    live.settle = lambda: None
    live.run(30)
    live.pipeline._thread.join(20)
    live.run(30)
    assert isinstance(live.pipeline.error, ZeroDivisionError)
    assert np.concatenate(live.sound).any() and len(live.sent) == 63
    assert not live.pipeline._exchange._blocks  # no voice is kept for a thread that has ended


def test_closing_ends_a_waiting_thread(session):
    live = session()
    live.run(3)
    assert live.pipeline.is_running
    live.pipeline.close()
    assert not live.pipeline.is_running
