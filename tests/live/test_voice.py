from fractions import Fraction

import numpy as np
import pytest

from lipsync_jax.live.voice import BLOCK, SOUND_RATE, Resampler, SpeechDetector, VoiceBuffer


def ramp(first, count):
    return (np.arange(first, first + count) % 30_000 + 1).astype(np.int16)


def test_samples_come_out_in_order_whatever_the_chunks():
    voice = VoiceBuffer(waits=True)
    for size in (1, 5000, 17, 3000):
        voice.push(ramp(0, size))
    taken = np.concatenate([voice.take() for _ in range(9)])
    whole = np.concatenate([ramp(0, size) for size in (1, 5000, 17, 3000)])
    np.testing.assert_array_equal(taken[: len(whole)], whole)
    assert not taken[len(whole) :].any() and voice.missing == 0


def test_a_microphone_begins_with_sixty_milliseconds_and_counts_what_is_missing():
    voice = VoiceBuffer()
    voice.push(ramp(0, BLOCK))
    assert not voice.take().any()
    voice.push(ramp(BLOCK, 2 * BLOCK))
    np.testing.assert_array_equal(voice.take(), ramp(0, BLOCK))
    voice.take(), voice.take()
    assert not voice.take().any() and voice.missing == BLOCK
    voice.push(ramp(0, BLOCK))
    assert not voice.take().any()  # collects again


def test_a_full_buffer_drops_the_oldest():
    voice = VoiceBuffer()
    voice.push(ramp(0, 3 * SOUND_RATE))
    assert voice.dropped == SOUND_RATE and voice.seconds == 2
    np.testing.assert_array_equal(voice.take(), ramp(SOUND_RATE, BLOCK))


def test_a_synthesiser_waits_for_room_and_loses_nothing():
    voice = VoiceBuffer(waits=True)
    voice.push(ramp(0, 2 * SOUND_RATE))
    assert voice.room == 0
    voice.push(ramp(0, 10))
    assert voice.dropped == 0
    voice.take()
    assert voice.room == BLOCK - 10
    voice.clear()
    assert voice.seconds == 0 and not voice.take().any()


def test_a_fast_microphone_is_caught_up_with_in_pauses():
    voice = VoiceBuffer()
    for i in range(4000):  # 0.5 % fast; every other half second is quiet
        loud = i // 25 % 2
        voice.push(np.full(BLOCK + 5, 1000 * loud, np.int16))
        voice.take()
    assert voice.seconds < 0.32 and voice.dropped > 0 and voice.missing == 0


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_samples_of_other_rates(rate):
    seconds = np.arange(rate) / rate
    tone = (8000 * np.sin(2 * np.pi * 440 * seconds)).astype(np.int16)
    resample = Resampler(rate)
    stereo = np.stack([tone, tone], axis=1)
    parts = [resample(stereo[i : i + 1000]) for i in range(0, rate, 1000)]
    parts.append(resample(np.zeros(0, np.int16), last=True))
    result = np.concatenate(parts)
    assert result.dtype == np.int16 and abs(len(result) - SOUND_RATE) <= 1
    expected = 8000 * np.sin(2 * np.pi * 440 * np.arange(len(result)) / SOUND_RATE)
    assert np.abs(result - expected)[1000:-1000].max() < 40


def test_a_rate_out_of_range_is_refused():
    with pytest.raises(ValueError, match="give 8000 to 192000"):
        Resampler(1000)


def activity_of(levels, moments):
    detector, rng = SpeechDetector(), np.random.default_rng(0)
    for level in levels:
        detector.add((level * rng.normal(size=BLOCK)).astype(np.int16))
    return [detector.activity(Fraction(moment)) for moment in moments]


def test_speech_begins_early_ends_late_and_fades():
    levels = [10] * 100 + [2000] * 50 + [10] * 100
    early, start, inside, end, late = activity_of(levels, ["1.8", "2", "2.5", "3.1", "3.6"])
    assert early == late == 0 and start == inside == end == 1
    fade = activity_of(levels, [Fraction(i, 25) for i in range(38, 55)])
    assert 0 < sum(0 < value < 1 for value in fade) <= 4


def test_constant_noise_and_clicks_are_no_speech():
    assert activity_of([600] * 400, [7]) == [0]
    click = [10] * 100 + [5000] + [10] * 100
    assert activity_of(click, [2]) == [0]


def test_silence_is_no_speech():
    assert activity_of([0] * 50, ["0.5"]) == [0]
