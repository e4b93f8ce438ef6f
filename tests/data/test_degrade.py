import numpy as np
import pytest

from lipsync_jax.data import degrade


def _faces(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (3, 24, 24, 3), np.uint8)


def _mel():
    return np.random.default_rng(1).uniform(-4, 4, (60, 80)).astype(np.float32)


@pytest.mark.parametrize("change", [degrade.degrade_faces, degrade.jitter_boxes])
def test_faces_keep_shape_and_type_and_all_frames_change_alike(change):
    frames = np.repeat(np.full((1, 24, 24, 3), 120, np.uint8), 3, axis=0)
    for seed in range(10):
        changed = change(frames, np.random.default_rng(seed), 1.0)
        assert changed.shape == frames.shape and changed.dtype == np.uint8
        means = changed.reshape(3, -1).mean(axis=1)
        assert np.ptp(means) < 1.0  # noise differs from frame to frame, light does not


@pytest.mark.parametrize(
    "change, value",
    [
        (degrade.degrade_faces, _faces()),
        (degrade.jitter_boxes, _faces()),
        (degrade.degrade_mel, _mel()),
    ],
)
def test_magnitude_zero_changes_nothing_and_a_seed_repeats(change, value):
    assert change(value, np.random.default_rng(0), 0.0) is value
    once, twice = (change(value, np.random.default_rng(5), 1.0) for _ in range(2))
    np.testing.assert_array_equal(once, twice)
    assert not np.array_equal(once, value)


def test_mel_stays_in_its_range_and_reverberation_only_adds_energy_after_a_sound():
    click = np.full((60, 80), -4.0, np.float32)
    click[20] = 2.0
    for seed in range(20):
        changed = degrade.degrade_mel(click, np.random.default_rng(seed), 1.0)
        assert changed.dtype == np.float32 and changed.shape == click.shape
        assert changed.min() >= -4 and changed.max() <= 4
        before, after = changed[10:20].mean(), changed[21:31].mean()
        assert after >= before - 1e-3
        assert np.argmax(changed.mean(axis=1)) == 20


def test_a_box_moves_by_a_few_pixels_at_most():
    frames = np.zeros((1, 96, 96, 3), np.uint8)
    frames[:, 44:52, 44:52] = 255
    for seed in range(10):
        moved = degrade.jitter_boxes(frames, np.random.default_rng(seed), 1.0)
        rows, columns = np.nonzero(moved[0, :, :, 0] > 128)
        assert abs(rows.mean() - 47.5) < 3 and abs(columns.mean() - 47.5) < 3
