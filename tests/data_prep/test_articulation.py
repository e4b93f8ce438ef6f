import numpy as np
import pytest

from lipsync_jax.data_prep.synthetic.articulation import CONTROL_RATE, SAMPLE_RATE, Voice, speak

HOP = SAMPLE_RATE // CONTROL_RATE


def _speech(seed, seconds=3.0):
    rng = np.random.default_rng(seed)
    return speak(Voice.sample(rng), seconds, rng)


@pytest.fixture(scope="module")
def speeches():
    return [_speech(seed) for seed in range(6)]


def _levels(speech, low, high):
    """Decibels of a band at the articulation's rate."""
    padded = np.pad(speech.samples / 32768, 2 * HOP)
    blocks = np.lib.stride_tricks.sliding_window_view(padded, 4 * HOP)[::HOP]
    power = np.abs(np.fft.rfft(blocks * np.hanning(4 * HOP), 512)) ** 2
    hertz = np.fft.rfftfreq(512, 1 / SAMPLE_RATE)
    return 10 * np.log10(power[:, (hertz >= low) & (hertz < high)].sum(1) + 1e-9)


def _inside_words(speech, steps):
    times = np.arange(steps) / CONTROL_RATE
    spans = [(word.start + 0.03, word.end - 0.03) for word in speech.words]
    return np.any([(times > start) & (times < end) for start, end in spans], axis=0)


def test_the_same_seed_says_the_same():
    one, two, other = _speech(5, 1.0), _speech(5, 1.0), _speech(6, 1.0)
    np.testing.assert_array_equal(one.samples, two.samples)
    assert one.words == two.words
    assert not np.array_equal(one.samples, other.samples)


def test_length_and_level(speeches):
    for speech in speeches:
        assert speech.samples.dtype == np.int16
        assert speech.samples.shape == (3 * SAMPLE_RATE,)
        assert len(speech.articulation.jaw) == 3 * CONTROL_RATE + 1
        assert 3000 < np.abs(speech.samples).max() < 32767


def test_words_follow_each_other_within_the_speech(speeches):
    for speech in speeches:
        times = [moment for word in speech.words for moment in (word.start, word.end)]
        assert len(speech.words) >= 3
        assert times == sorted(times) and times[0] > 0 and times[-1] < 3


def test_speech_must_last():
    with pytest.raises(ValueError, match="longer than 0 s"):
        _speech(0, 0.0)


def test_shut_lips_silence_all_but_a_murmur(speeches):
    """At p, b and m nothing above the murmur passes; open vowels are at least 20 dB louder."""
    shut, vowels = [], []
    for speech in speeches:
        level = _levels(speech, 700, 8000)
        opening = speech.articulation.opening[: len(level)]
        spoken = _inside_words(speech, len(opening))
        shut.append(level[: len(opening)][spoken & (opening < -0.15)])
        vowels.append(level[: len(opening)][spoken & (opening > 0.5)])
    assert np.median(np.concatenate(vowels)) - np.median(np.concatenate(shut)) > 20


def test_loudness_follows_the_opening_and_not_its_future(speeches):
    """Correlation over lags peaks where picture and sound belong together."""
    lags = np.arange(-60, 61, 4)  # steps of 20 ms
    found = []
    for speech in speeches:
        loud = np.maximum(_levels(speech, 100, 4000), -40)
        opening = np.clip(speech.articulation.opening, 0, None)
        inner = slice(60, 3 * CONTROL_RATE - 60)
        rows = [np.corrcoef(opening[inner], np.roll(loud, -lag)[inner])[0, 1] for lag in lags]
        found.append(rows)
    mean = np.mean(found, axis=0)
    assert mean.max() > 0.5
    assert abs(lags[mean.argmax()]) <= 4
    assert mean[0] < 0.3 and mean[-1] < 0.3


def test_a_shorter_tract_resonates_higher():
    voices = [Voice.sample(np.random.default_rng(1), tract) for tract in (0.8, 1.0)]
    short, long = (speak(voice, 1.0, np.random.default_rng(2)) for voice in voices)
    ratio = short.articulation.formants / long.articulation.formants
    np.testing.assert_allclose(np.median(ratio), 1.25, rtol=0.02)
    assert voices[0].pitch > voices[1].pitch


def test_controls_between_steps(speeches):
    articulation = speeches[0].articulation
    middle = articulation.at("jaw", np.array([0.5025]))
    np.testing.assert_allclose(middle, articulation.jaw[100:102].mean(), rtol=1e-6)
