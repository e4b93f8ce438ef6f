from fractions import Fraction

import numpy as np
import pytest

from lipsync_jax.data.audio_windows import (
    frames_within,
    log_mel_windows,
    mfcc_windows,
    waveform_windows,
    window_samples,
)
from lipsync_jax.media import audio
from tests.golden.tgan import recipe


def test_windows_are_those_of_the_published_code():
    for row in recipe.expected("windows")["rows"]:
        rate, length, fps, hop, samples, count, first, last, *zeros = row.astype(int)
        assert rate // fps == hop
        windows = waveform_windows(np.arange(1, samples + 1), length, hop)
        assert len(windows) == frames_within(samples, hop) == count
        assert windows[0, (length - hop) // 2] == first and windows[-1].max() == last
        assert [(window == 0).sum() for window in (windows[0], windows[-1])] == zeros


@pytest.mark.parametrize("hop", [640, Fraction(16_000 * 1001, 30_000)])
def test_chunks_have_the_windows_of_the_whole_clip(hop):
    samples = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    whole = waveform_windows(samples, 2560, hop)
    assert len(whole) == 16_000 // hop and whole.dtype == np.float32
    parts = [waveform_windows(samples, 2560, hop, range(first, first + 5)) for first in (0, 5)]
    np.testing.assert_array_equal(np.concatenate(parts), whole[:10])
    beyond = waveform_windows(samples, 2560, hop, range(100, 102))
    assert beyond.shape == (2, 2560) and not beyond.any()


def test_windows_do_not_drift_from_their_frames():
    hop = Fraction(16_000 * 1001, 30_000)
    ticks = np.arange(16_000 * 60)
    windows = waveform_windows(ticks, 3200, hop)
    middles = windows[10:-10].mean(axis=1)
    frames = np.arange(10, len(windows) - 10)
    assert np.abs(middles - (frames + 0.5) * float(hop)).max() <= 1  # of samples


def test_refuses_audio_shorter_than_a_frame():
    with pytest.raises(ValueError, match="639 samples of audio are shorter than a frame of 640"):
        waveform_windows(np.zeros(639), 2560, 640)
    with pytest.raises(ValueError, match=r"shape \(700, 2\) must be mono"):
        waveform_windows(np.zeros((700, 2)), 2560, 640)
    with pytest.raises(ValueError, match="500 samples does not cover a frame of 640"):
        waveform_windows(np.zeros(700), 500, 640)


def test_mfcc_windows_are_centred_and_silent_outside():
    mfcc = np.arange(200)[:, None] + np.linspace(0, 0.9, 13) + 1
    windows = mfcc_windows(mfcc, range(50))
    assert windows.shape == (50, 35, 12) and windows.dtype == np.float32
    np.testing.assert_allclose(windows[10], mfcc[25:60, 1:], rtol=1e-6)
    assert not windows[0, :15].any() and windows[0, 15:].all()
    np.testing.assert_allclose(windows[49, :19], mfcc[181:, 1:], rtol=1e-6)
    assert not windows[49, 19:].any()


def test_lengths_of_windows():
    assert window_samples(0.16, 16_000) == 2560 and window_samples(0.2, 50_000) == 10_000


@pytest.mark.parametrize("frame_rate", [25, Fraction(30000, 1001)])
def test_log_mel_windows_begin_with_their_frames(frame_rate):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 44_100).astype(np.float32)
    found = log_mel_windows(samples, range(-2, 20), frame_rate)
    assert found.shape == (22, 4, 128) and found.dtype == np.float32
    first = int(19 * 44_100 / Fraction(frame_rate))
    expected = audio.log_mel(samples[None, first : first + 1764])[0]
    np.testing.assert_allclose(found[-1], expected, atol=1e-4)
    assert (found[0] == -100).all()  # before the sound is silence
