import numpy as np
import pytest

from lipsync_jax.media import audio, speech_activity
from tests.helpers import media_files


def test_the_words_are_found():
    rng = np.random.default_rng(1)
    rate, samples = 16_000, 0.001 * rng.standard_normal(4 * 16_000)
    voice = media_files.tone(300, 1, rate) * (
        1 + 0.5 * np.sin(2 * np.pi * 5 * np.arange(rate) / rate)
    )
    samples[rate : 2 * rate] += voice
    samples[3 * rate : 3 * rate + 160] += 0.9  # a click is no word
    active = speech_activity.detect(samples, rate, 25, 110)
    assert active.shape == (110,)
    assert active[26:49].all()
    assert not active[:23].any()
    assert not active[53:].any()
    assert not speech_activity.detect(np.zeros(rate), rate, 25, 25).any()
    assert not speech_activity.detect(0.1 * rng.standard_normal(rate), rate, 25, 25).any()


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
@pytest.mark.parametrize("chunk", [1, 333, 1024, 10**6])
def test_levels_of_a_stream_are_those_of_the_whole_recording(rate, chunk):
    rng = np.random.default_rng(rate)
    samples = (0.1 * rng.standard_normal(max(3 * chunk % 50_000, 2 * rate + 17))).astype(np.float32)
    if chunk == 1:
        samples = samples[:1500]
    chunks = (samples[i : i + chunk] for i in range(0, len(samples), chunk))
    found = speech_activity.levels(chunks, rate)
    narrow = np.pad(audio.resample(samples, rate, 8000), (60, 200))
    frames = np.lib.stride_tricks.sliding_window_view(narrow, 200)[::80]
    power = np.abs(np.fft.rfft(frames * np.hanning(200).astype(np.float32), 256)) ** 2
    expected = 10 * np.log10(power[:, 4:].sum(axis=1) / (128 * 75) + 1e-12)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_array_equal(found, speech_activity.levels([samples], rate))


def test_memory_does_not_grow_with_a_stream(monkeypatch):
    lengths, levels = [], speech_activity._levels

    def counted(samples, count):
        lengths.append(len(samples))
        return levels(samples, count)

    monkeypatch.setattr(speech_activity, "_levels", counted)
    chunk = np.zeros(1024, np.float32)
    assert len(speech_activity.levels((chunk for _ in range(500)), 16_000)) == 3201
    assert max(lengths) < 2000


def test_no_sample_is_an_error():
    with pytest.raises(ValueError, match="there are no samples"):
        speech_activity.levels([], 16_000)
