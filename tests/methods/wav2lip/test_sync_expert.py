import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax import methods
from lipsync_jax.configs import sync_expert as expert_config
from lipsync_jax.data.clip import decode_frames
from lipsync_jax.methods.common.sync_metrics import sync_metrics
from lipsync_jax.methods.wav2lip import sync_expert_inference
from tests.conftest import toy_clip


def make(**changes):
    config = expert_config.get_config("small_data")
    config.model.width_mult = 0.03
    config.augment_magnitude = 0.0
    config.update(changes)
    return methods.load(config)


def test_the_lower_half_is_stacked_frame_by_frame():
    faces = np.arange(2 * 5 * 8 * 6 * 3, dtype=np.float32).reshape(2, 5, 8, 6, 3)
    stacked = np.asarray(sync_expert_inference.stack_lower_half(jnp.asarray(faces)))
    assert stacked.shape == (2, 4, 6, 15)
    for frame in range(5):
        np.testing.assert_array_equal(stacked[..., 3 * frame : 3 * frame + 3], faces[:, frame, 4:])


def test_positives_pair_a_window_with_its_own_audio():
    clip = toy_clip("s/0", 0)
    method = make()
    example = method.make_example(clip, np.random.default_rng(0))
    assert example["frames"].shape == (8, 5, 96, 96, 3) and example["frames"].dtype == np.uint8
    assert example["audio"].shape == (8, 16, 80) and example["audio"].dtype == np.float32
    every = decode_frames(clip, range(40))
    mel = method._feature_cache.mel(clip)
    for faces, window in zip(example["frames"], example["audio"], strict=True):
        start = next(s for s in range(36) if np.array_equal(every[s : s + 5], faces))
        column = start * 16 // 5
        inside = mel[column : column + 16]
        np.testing.assert_array_equal(window[: len(inside)], inside)


def test_windows_of_one_clip_keep_apart():
    method = make()
    for seed in range(20):
        starts = method._sample_starts(toy_clip("s/0", 0), np.random.default_rng(seed), 4)
        gaps = np.abs(starts[:, None] - starts)[~np.eye(4, dtype=bool)]
        assert gaps.min() >= 5


@pytest.mark.parametrize("negatives", ["same_clip", "other_clips", "mixed"])
def test_negatives_are_what_the_config_says(negatives):
    clip = toy_clip("s/0", 0)
    method = make(objective="cosine_bce", negatives=negatives, windows_per_clip=64)
    example = method.make_example(clip, np.random.default_rng(0))
    every = decode_frames(clip, range(40))
    mel = method._feature_cache.mel(clip)
    label, other = example["label"], example["use_mismatched_audio"]
    assert 0.3 < label.mean() < 0.7
    assert not (other & (label == 1)).any()
    share = other[label == 0].mean()
    assert {"same_clip": share == 0, "other_clips": share == 1, "mixed": 0.2 < share < 0.8}[
        negatives
    ]
    for i in np.flatnonzero((label == 0) & ~other):
        face_start = next(
            s for s in range(36) if np.array_equal(every[s : s + 5], example["frames"][i])
        )
        audio_starts = [
            s
            for s in range(36)
            if np.array_equal(
                mel[s * 16 // 5 : s * 16 // 5 + 16],
                example["audio"][i][: len(mel[s * 16 // 5 : s * 16 // 5 + 16])],
            )
        ]
        assert abs(face_start - audio_starts[0]) >= 5


def test_published_negatives_are_any_other_window_with_its_audio_inside_of_the_clip():
    whole = toy_clip("s/0", 0)
    clip = dataclasses.replace(whole, audio=whole.audio[: len(whole.audio) * 15 // 16])
    config = expert_config.get_config("published")
    config.model.width_mult = 0.03
    method = methods.load(config)
    method.validate_config()
    columns = len(method._feature_cache.mel(clip))
    distances, starts = set(), set()
    for seed in range(300):
        rng = np.random.default_rng(seed)
        (start,) = method._sample_starts(clip, rng, 1)
        starts.add(int(start))
        distances.add(abs(method._sample_negative_start(clip, rng, start) - int(start)))
    assert min(distances) == 1
    # The audio of a window starts with its first frame; the last one ends after the clip.
    assert starts == {s for s in range(36) if s * 16 // 5 + 16 <= columns} != set(range(36))
    spaced = methods.load(expert_config.get_config("size=published,sampling=spaced"))
    found = {int(spaced._sample_starts(clip, np.random.default_rng(i), 1)[0]) for i in range(300)}
    assert found == set(range(36)) and spaced.negative_distance == 5


def test_windows_without_audio_are_refused_where_edges_are_rejected():
    short = dataclasses.replace(toy_clip("s/0", 0), audio=toy_clip("s/0", 0).audio[:1600])
    method = make(edge_windows="reject")
    with pytest.raises(ValueError, match=r"none of the clip's 36 .*--config.edge_windows=pad"):
        method.make_example(short, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"config.edge_windows='wrap': choose reject, pad"):
        make(edge_windows="wrap").validate_config()
    with pytest.raises(ValueError, match=r"config.min_negative_distance=-1"):
        make(min_negative_distance=-1).validate_config()


@pytest.mark.parametrize(
    "objective, negatives, clips, windows, remedy",
    [
        ("cosine_bce", "other_clips", 1, 8, "data.batch_size"),
        ("cosine_bce", "mixed", 1, 8, "data.batch_size"),
        ("info_nce", "same_clip", 1, 1, "windows_per_clip"),
        ("info_nce_in_clip", "same_clip", 8, 1, "windows_per_clip"),
        ("cosine_bce", "same_clip", 1, 1, ""),
        ("cosine_bce", "mixed", 2, 1, ""),
        ("info_nce", "other_clips", 2, 1, ""),
        ("info_nce_in_clip", "same_clip", 1, 2, ""),
    ],
)
def test_a_batch_without_negatives_is_refused(objective, negatives, clips, windows, remedy):
    method = make(objective=objective, negatives=negatives, windows_per_clip=windows)
    method.config.data.batch_size = clips
    if not remedy:
        method.validate_config()
        return
    with pytest.raises(ValueError, match=rf"=({objective}|{negatives}) .*--config\.{remedy} to 2"):
        method.validate_config()


def test_metrics_of_a_perfect_a_random_and_a_shifted_expert():
    count = 40
    mask = np.ones((6, count), bool)
    perfect = np.broadcast_to(np.eye(count), (6, count, count))
    found = sync_metrics(perfect, mask, mask, 5)
    assert found["balanced_accuracy"] == found["offset_accuracy"] == 1
    random = np.random.default_rng(0).random((6, count, count))
    assert abs(sync_metrics(random, mask, mask, 5)["balanced_accuracy"] - 0.5) < 0.1
    shifted = np.broadcast_to(np.eye(count, k=3), (6, count, count))
    assert sync_metrics(shifted, mask, mask, 5)["offset_accuracy"] == 0


def test_validation_clips_without_speech_are_told():
    cosine, mask = np.zeros((4, 12, 12)), np.ones((4, 12), bool)
    speech = mask & np.array([[True], [False], [True], [False]])  # none in every second clip
    with pytest.raises(ValueError, match="2 of 4 validation clips have two windows"):
        sync_metrics(cosine, mask, speech, 5)
    with pytest.raises(ValueError, match=r"0 of 4 .* 5 frames with speech that do not"):
        sync_metrics(cosine[:, :5, :5], mask[:, :5], mask[:, :5], 5)


def test_clips_too_short_are_refused_by_name():
    with pytest.raises(ValueError, match="has 8 frames"):
        make().make_example(toy_clip("s/0", 0, frames=8), np.random.default_rng(0))


def test_a_clip_shorter_than_the_validation_length_is_padded():
    method = make()
    example = method.make_validation_example(
        toy_clip("s/0", 0, frames=40), np.random.default_rng(0)
    )
    assert example["frames"].shape == (75, 96, 96, 3)
    assert example["mask"].sum() == 36
    assert not (example["speech"] & ~example["mask"]).any()
