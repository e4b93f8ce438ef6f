"""Window tables against the published ones and against plain fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest

from lipsync_jax.data import windows
from lipsync_jax.data.audio_features import LIPGAN, MEL, MFCC
from lipsync_jax.media import audio
from lipsync_jax.methods.wav2lip.sync_expert_inference import SyncExpertInference
from tests.golden import recipe

RATES = [Fraction(24_000, 1001), Fraction(25), Fraction(30_000, 1001), Fraction(60_000, 1001)]


@pytest.fixture(scope="module")
def golden():
    with np.load(recipe.FOLDER / "golden_windows.npz") as archive:
        return dict(archive)


def test_training_windows_are_the_published_ones(golden):
    own = golden["train_indiv_start"]
    np.testing.assert_array_equal(
        windows.mel_window_start(np.arange(2000)), golden["train_window_start"]
    )
    assert (own[0] == -1).all(), "frame 0 starts no example"
    for first in range(1, 2000):
        each = windows.generator_window_start(first + np.arange(5))
        np.testing.assert_array_equal(each, own[first])
    times = [Fraction(frame, 25) for frame in range(2000)]
    shared = SyncExpertInference.audio_features.window_starts(times)
    np.testing.assert_array_equal(shared, golden["train_window_start"])


@pytest.mark.parametrize("rate", ["23.976", "24", "25", "29.97", "30", "50", "60"])
@pytest.mark.parametrize("columns", [161, 400])
def test_published_inference_is_the_published_one(golden, rate, columns):
    starts = windows.reference_inference_starts(columns, Fraction(rate))
    np.testing.assert_array_equal(starts, golden[f"infer_starts_fps{rate}_L{columns}"])


@pytest.mark.parametrize("rate", RATES)
def test_starts_are_exact_floors(rate):
    frames = np.array([0, 1, 2, 7, 1001, 24_000, 30_001, 10**6, 10**7 + 3])
    lead = windows.WINDOW_LOOKBACK
    assert windows.mel_window_start(frames, rate).tolist() == [
        math.floor(80 * int(f) / rate) for f in frames
    ]
    corrected = [math.floor(80 * (int(f) / rate - lead)) for f in frames]
    assert windows.generator_window_start(frames, rate).tolist() == corrected
    assert [windows.generator_window_start(int(f), rate) for f in frames] == corrected
    assert [windows.column_at(int(f) / rate - lead) for f in frames] == corrected
    times = [int(f) / rate for f in frames]
    for spec in (MEL, MFCC, *LIPGAN.values(), SyncExpertInference.audio_features):
        np.testing.assert_array_equal(
            spec.window_starts_of_frames(frames, rate), spec.window_starts(times)
        )


def test_integer_columns_are_exact():
    # In binary fractions 80 · (f / 29.97…) falls just under a whole column now and then.
    frames = np.arange(0, 30_000 * 20, 30_000)
    starts = windows.mel_window_start(frames, Fraction(30_000, 1001))
    np.testing.assert_array_equal(starts, np.arange(20) * 80 * 1001)


@pytest.mark.parametrize("rate", RATES)
def test_inference_matches_training_unless_asked(rate):
    times = [i / rate for i in range(50)]
    corrected = windows.inference_starts_at(times)
    assert corrected.dtype == np.int64
    trained = windows.generator_window_start(np.arange(7, 12), rate)
    np.testing.assert_array_equal(corrected[7:12], trained)
    reference = windows.inference_starts_at(times, "reference")
    np.testing.assert_array_equal(reference, windows.mel_window_start(np.arange(50), rate))


def test_the_reference_offset_is_40_ms_late():
    """At 25 frames a second, the reference window of a frame is the training window of the next."""
    times = [Fraction(i, 25) for i in range(50)]
    np.testing.assert_array_equal(
        windows.inference_starts_at(times[:-1], "reference"), windows.inference_starts_at(times)[1:]
    )


def test_windows_outside_the_audio_are_silent():
    features = np.arange(20 * 3, dtype=np.float32).reshape(20, 3)
    taken = windows.gather_windows(features, np.array([[-2, 0], [15, 40]]), length=8)
    assert taken.shape == (2, 2, 8, 3)
    assert taken.dtype == features.dtype
    np.testing.assert_array_equal(taken[0, 0, :2], audio.MEL_SILENCE)
    np.testing.assert_array_equal(taken[0, 0, 2:], features[:6])
    np.testing.assert_array_equal(taken[0, 1], features[:8])
    np.testing.assert_array_equal(taken[1, 0, :5], features[15:])
    np.testing.assert_array_equal(taken[1, 0, 5:], audio.MEL_SILENCE)
    np.testing.assert_array_equal(taken[1, 1], audio.MEL_SILENCE)
    assert (features == np.arange(60).reshape(20, 3)).all(), "the features stay as they are"


def test_windows_as_images_put_bins_in_rows():
    taken = np.random.default_rng(0).random((2, 5, 16, 80))
    images = windows.windows_to_nhwc(taken)
    assert images.shape == (2, 5, 80, 16, 1)
    assert images[1, 2, 30, 4, 0] == taken[1, 2, 4, 30]


def test_wrong_rates_offsets_and_lengths_are_refused():
    for rate in (0, -25):
        with pytest.raises(ValueError, match="must be positive"):
            windows.mel_window_start(1, rate)
    with pytest.raises(ValueError, match="'early' is unknown; choose from"):
        windows.inference_starts_at([Fraction(0)], "early")
    with pytest.raises(ValueError, match="less than one window"):
        windows.reference_inference_starts(15)
