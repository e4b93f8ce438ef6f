from fractions import Fraction

import numpy as np
import pytest

from lipsync_jax.data import windows
from lipsync_jax.media import audio
from lipsync_jax.synthesis import driving_audio
from tests.helpers import media_files


def columns(speech, count):
    return speech.windows(np.arange(count))[:, 0]


@pytest.mark.parametrize("seconds", [0.005, 0.1, 3.217])
def test_blocks_give_the_spectrogram_of_the_whole(tmp_path, seconds):
    samples = np.random.default_rng(0).normal(0, 0.1, round(16_000 * seconds)).astype(np.float32)
    audio.save(tmp_path / "a.wav", samples, 16_000)
    speech = driving_audio.load(tmp_path / "a.wav")
    whole = audio.mel_spectrogram(audio.load(tmp_path / "a.wav")[0])
    np.testing.assert_allclose(columns(speech, len(whole)), whole, atol=1e-5)
    assert speech.duration == Fraction(len(samples), 16_000)


def test_other_rates_and_channels(tmp_path):
    tone = media_files.tone(300, 1.5, 44_100)
    audio.save(tmp_path / "a.wav", np.stack([tone, 0 * tone], axis=1), 44_100)
    speech = driving_audio.load(tmp_path / "a.wav")
    whole = audio.mel_spectrogram(audio.load(tmp_path / "a.wav", 16_000)[0])
    np.testing.assert_allclose(columns(speech, len(whole)), whole, atol=2e-2)
    assert speech.duration == Fraction(3, 2)


def test_few_features_are_in_memory_and_earlier_ones_can_be_read_again(tmp_path):
    samples = np.random.default_rng(0).normal(0, 0.1, 16_000 * 4).astype(np.float32)
    audio.save(tmp_path / "a.wav", samples, 16_000)
    speech = driving_audio.load(tmp_path / "a.wav")
    whole = audio.mel_spectrogram(audio.load(tmp_path / "a.wav")[0])
    for first in (-5, 0, 100, 250, 300, 20, 290):
        starts = np.arange(first, first + 8)
        expected = windows.gather_windows(whole, starts)
        np.testing.assert_allclose(speech.windows(starts), expected, atol=1e-5)
        assert len(speech._features._buffer) < 30


def test_no_sample_is_an_error(tmp_path):
    audio.save(tmp_path / "a.wav", np.zeros(0, np.int16), 16_000)
    with pytest.raises(ValueError, match=r"a\.wav"):
        driving_audio.load(tmp_path / "a.wav")


def test_the_gate_opens_before_a_voice_and_closes_after_it(tmp_path):
    samples = np.zeros(48_000, np.float32)
    samples[16_000:32_000] = media_files.tone(400, 1, 16_000)
    audio.save(tmp_path / "a.wav", samples, 16_000)
    times = media_files.uniform_times(100)  # longer than the voice
    gate = np.array([*map(driving_audio.vad_envelope(tmp_path / "a.wav"), times)])
    assert (gate[24:51] == 1).all() and not gate[:18].any() and not gate[58:].any()
    assert (np.diff(gate[:40]) >= 0).all() and ((gate > 0) & (gate < 1)).sum() >= 4
