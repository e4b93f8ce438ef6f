import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax import methods
from lipsync_jax.configs import sync_expert as expert_config
from lipsync_jax.data.clip import decode_frames
from lipsync_jax.methods.wav2lip import sync_expert
from tests.conftest import toy_clip


def make(**changes):
    config = expert_config.get_config("small_data")
    config.model.width = 0.03
    config.augment = 0.0
    config.update(changes)
    return methods.load(config)


def test_the_lower_half_is_stacked_frame_by_frame():
    faces = np.arange(2 * 5 * 8 * 6 * 3, dtype=np.float32).reshape(2, 5, 8, 6, 3)
    stacked = np.asarray(sync_expert.stack_lower_half(jnp.asarray(faces)))
    assert stacked.shape == (2, 4, 6, 15)
    for frame in range(5):
        np.testing.assert_array_equal(stacked[..., 3 * frame : 3 * frame + 3], faces[:, frame, 4:])


def test_positives_pair_a_window_with_its_own_sound():
    clip = toy_clip("s/0", 0)
    method = make()
    example = method.example(clip, np.random.default_rng(0))
    assert example["faces"].shape == (8, 5, 96, 96, 3) and example["faces"].dtype == np.uint8
    assert example["mel"].shape == (8, 16, 80) and example["mel"].dtype == np.float32
    every = decode_frames(clip, range(40))
    mel = method._mels.mel(clip)
    for faces, window in zip(example["faces"], example["mel"], strict=True):
        start = next(s for s in range(36) if np.array_equal(every[s : s + 5], faces))
        column = start * 16 // 5
        inside = mel[column : column + 16]
        np.testing.assert_array_equal(window[: len(inside)], inside)


def test_windows_of_one_clip_keep_apart():
    method = make()
    for seed in range(20):
        starts = method._starts(toy_clip("s/0", 0), np.random.default_rng(seed), 4)
        gaps = np.abs(starts[:, None] - starts)[~np.eye(4, dtype=bool)]
        assert gaps.min() >= 5


@pytest.mark.parametrize("negatives", ["same_clip", "other_clips", "mixed"])
def test_negatives_are_what_the_config_says(negatives):
    clip = toy_clip("s/0", 0)
    method = make(loss="cosine_bce", negatives=negatives, windows_per_clip=64)
    example = method.example(clip, np.random.default_rng(0))
    every = decode_frames(clip, range(40))
    mel = method._mels.mel(clip)
    label, other = example["label"], example["other"]
    assert 0.3 < label.mean() < 0.7
    assert not (other & (label == 1)).any()
    share = other[label == 0].mean()
    assert {"same_clip": share == 0, "other_clips": share == 1, "mixed": 0.2 < share < 0.8}[
        negatives
    ]
    for i in np.flatnonzero((label == 0) & ~other):
        shown = next(s for s in range(36) if np.array_equal(every[s : s + 5], example["faces"][i]))
        heard = [
            s
            for s in range(36)
            if np.array_equal(
                mel[s * 16 // 5 : s * 16 // 5 + 16],
                example["mel"][i][: len(mel[s * 16 // 5 : s * 16 // 5 + 16])],
            )
        ]
        assert abs(shown - heard[0]) >= 5


def test_accuracies_of_a_perfect_a_blind_and_a_shifted_expert():
    count = 40
    inside = np.ones((6, count), bool)
    perfect = np.broadcast_to(np.eye(count), (6, count, count))
    found = sync_expert.accuracies(perfect, inside, inside)
    assert found["balanced_accuracy"] == found["offset_accuracy"] == 1
    blind = np.random.default_rng(0).random((6, count, count))
    assert abs(sync_expert.accuracies(blind, inside, inside)["balanced_accuracy"] - 0.5) < 0.1
    shifted = np.broadcast_to(np.eye(count, k=3), (6, count, count))
    assert sync_expert.accuracies(shifted, inside, inside)["offset_accuracy"] == 0


def test_clips_too_short_are_refused_by_name():
    with pytest.raises(ValueError, match="has 8 frames"):
        make().example(toy_clip("s/0", 0, frames=8), np.random.default_rng(0))


def test_a_clip_shorter_than_the_validation_length_is_filled_up():
    method = make()
    example = method.validation_example(toy_clip("s/0", 0, frames=40), np.random.default_rng(0))
    assert example["frames"].shape == (75, 96, 96, 3)
    assert example["inside"].sum() == 36
    assert not (example["speech"] & ~example["inside"]).any()
