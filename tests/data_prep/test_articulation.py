import numpy as np
import pytest

from lipsync_jax.data_prep.synthetic.articulation import (
    CONTROL_RATE,
    SAMPLE_RATE,
    Voice,
    synthesize_utterance,
)

HOP = SAMPLE_RATE // CONTROL_RATE


def _utterance(seed, seconds=3.0):
    rng = np.random.default_rng(seed)
    return synthesize_utterance(Voice.sample(rng), seconds, rng)


@pytest.fixture(scope="module")
def utterances():
    return [_utterance(seed) for seed in range(6)]


def _levels(utterance, low, high):
    """Decibels of a band at the articulation's rate."""
    padded = np.pad(utterance.samples / 32768, 2 * HOP)
    blocks = np.lib.stride_tricks.sliding_window_view(padded, 4 * HOP)[::HOP]
    power = np.abs(np.fft.rfft(blocks * np.hanning(4 * HOP), 512)) ** 2
    hertz = np.fft.rfftfreq(512, 1 / SAMPLE_RATE)
    return 10 * np.log10(power[:, (hertz >= low) & (hertz < high)].sum(1) + 1e-9)


def _inside_words(utterance, steps):
    times = np.arange(steps) / CONTROL_RATE
    spans = [(word.start + 0.03, word.end - 0.03) for word in utterance.words]
    return np.any([(times > start) & (times < end) for start, end in spans], axis=0)


def test_equal_seeds_give_equal_utterances():
    one, two, other = _utterance(5, 1.0), _utterance(5, 1.0), _utterance(6, 1.0)
    np.testing.assert_array_equal(one.samples, two.samples)
    assert one.words == two.words
    assert not np.array_equal(one.samples, other.samples)


def test_length_and_level(utterances):
    for utterance in utterances:
        assert utterance.samples.dtype == np.int16
        assert utterance.samples.shape == (3 * SAMPLE_RATE,)
        assert len(utterance.articulation.jaw) == 3 * CONTROL_RATE + 1
        assert 3000 < np.abs(utterance.samples).max() < 32767


def test_words_follow_each_other_within_the_utterance(utterances):
    for utterance in utterances:
        times = [moment for word in utterance.words for moment in (word.start, word.end)]
        assert len(utterance.words) >= 3
        assert times == sorted(times) and times[0] > 0 and times[-1] < 3


def test_duration_must_be_positive():
    with pytest.raises(ValueError, match="longer than 0 s"):
        _utterance(0, 0.0)


def test_shut_lips_silence_all_but_a_murmur(utterances):
    """At p, b and m nothing above the murmur passes; open vowels are at least 20 dB louder."""
    shut, vowels = [], []
    for utterance in utterances:
        level = _levels(utterance, 700, 8000)
        opening = utterance.articulation.opening[: len(level)]
        spoken = _inside_words(utterance, len(opening))
        shut.append(level[: len(opening)][spoken & (opening < -0.15)])
        vowels.append(level[: len(opening)][spoken & (opening > 0.5)])
    assert np.median(np.concatenate(vowels)) - np.median(np.concatenate(shut)) > 20


def test_loudness_follows_the_opening_and_not_its_future(utterances):
    """Correlation over lags peaks where frames and audio are aligned."""
    lags = np.arange(-60, 61, 4)  # steps of 20 ms
    correlations = []
    for utterance in utterances:
        loud = np.maximum(_levels(utterance, 100, 4000), -40)
        opening = np.clip(utterance.articulation.opening, 0, None)
        inner = slice(60, 3 * CONTROL_RATE - 60)
        rows = [np.corrcoef(opening[inner], np.roll(loud, -lag)[inner])[0, 1] for lag in lags]
        correlations.append(rows)
    mean = np.mean(correlations, axis=0)
    assert mean.max() > 0.5
    assert abs(lags[mean.argmax()]) <= 4
    assert mean[0] < 0.3 and mean[-1] < 0.3


def test_a_shorter_tract_resonates_higher():
    voices = [Voice.sample(np.random.default_rng(1), tract) for tract in (0.8, 1.0)]
    short, long = (synthesize_utterance(voice, 1.0, np.random.default_rng(2)) for voice in voices)
    ratio = short.articulation.formants / long.articulation.formants
    np.testing.assert_allclose(np.median(ratio), 1.25, rtol=0.02)
    assert voices[0].pitch > voices[1].pitch


def test_controls_between_steps(utterances):
    articulation = utterances[0].articulation
    middle = articulation.interpolate("jaw", np.array([0.5025]))
    np.testing.assert_allclose(middle, articulation.jaw[100:102].mean(), rtol=1e-6)
