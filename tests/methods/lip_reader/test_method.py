"""The lip reader as a method: examples, training, metrics."""

import dataclasses

import jax
import numpy as np
import pytest

from lipsync_jax import methods
from lipsync_jax.configs import lip_reader as reader_config
from lipsync_jax.data.clip import Word, decode_frames
from lipsync_jax.methods.lip_reader import method as lip_reader
from lipsync_jax.nn.cpu.jit import jit
from tests.conftest import toy_clip


def make(**changes):
    config = reader_config.get_config("small_data")
    config.model.hidden_size = 16
    config.model.dropout = 0.0
    config.vocabulary = ("open", "shut")
    config.frames = 40
    config.update(changes)
    return methods.load(config)


def with_words(clip):
    return dataclasses.replace(clip, words=(Word("open", 0.2, 0.6), Word("shut", 0.6, 1.2)))


def test_mouths_are_grey_lower_faces():
    faces = np.zeros((2, 96, 96, 3), np.uint8)
    faces[:, 48:, 16:80] = (10, 20, 30)
    cut = lip_reader.crop_mouths(faces)
    assert cut.shape == (2, 48, 64) and cut.dtype == np.uint8
    assert np.ptp(cut) == 0 and cut[0, 0, 0] == 22  # 0.114 blue + 0.587 green + 0.299 red


def test_brightness_is_normalised():
    mouths = np.random.default_rng(0).integers(50, 100, (1, 6, 8, 8)).astype(np.uint8)
    mask = np.array([[True] * 4 + [False] * 2])
    normalised = np.asarray(lip_reader.standardize_mouths(mouths, mask))
    assert abs(normalised[0, :4].mean()) < 1e-5 and abs(normalised[0, :4].std() - 1) < 0.1
    brighter = np.asarray(lip_reader.standardize_mouths(2 * mouths + 30, mask))
    np.testing.assert_allclose(brighter, normalised, atol=0.1)


def test_examples_of_short_clips_are_padded():
    method, clip = make(frames=50), with_words(toy_clip("s/0", 0))
    example = method.make_validation_example(clip, np.random.default_rng(0))
    assert example["mask"].tolist() == [True] * 40 + [False] * 10
    expected = lip_reader.crop_mouths(decode_frames(clip, range(40)))
    np.testing.assert_array_equal(example["mouths"][:40], expected)
    np.testing.assert_array_equal(example["mouths"][40:], np.repeat(expected[-1:], 10, axis=0))
    assert example["classes"][:40].tolist() == [0] * 5 + [1] * 10 + [2] * 15 + [0] * 10


def test_examples_differ_in_speed():
    method, clip = make(speed_augment=0.3, augment_magnitude=0.0), with_words(toy_clip("s/0", 0))
    lengths = {
        int((method.make_example(clip, np.random.default_rng(seed))["classes"] == 1).sum())
        for seed in range(20)
    }
    assert min(lengths) < 10 < max(lengths)


def test_clips_without_words_are_refused():
    with pytest.raises(ValueError, match="has no words"):
        make().make_example(toy_clip("s/0", 0), np.random.default_rng(0))


def test_a_batch_can_be_learned():
    method = make(frames=16)
    rng = np.random.default_rng(0)
    clips = [with_words(toy_clip(f"s/{i}", i, frames=24)) for i in range(2)]
    batch = method.collate([method.make_example(clip, rng) for clip in clips])
    state = jit(method.init, optimize=False)(jax.random.key(0), batch)
    update = jit(method.train_step, donate_argnums=0)
    losses = []
    for step in range(25):
        state, scalars = update(state, batch, jax.random.key(step))
        losses.append(float(scalars["loss"]))
    assert losses[-1] < 0.7 * losses[0]
    measured = jax.device_get(jit(method.eval_step)(state, batch))
    assert measured["log_probabilities"].shape == (2, 16, 3)
    assert set(method.aggregate_metrics(measured)) == {"wer", "frame_accuracy"}


def test_word_error_rates():
    method = make(viterbi_transition_cost=1.0)
    classes = np.array([[0, 1, 1, 2, 0], [1, 1, 0, 0, 0]])
    mask = np.array([[True] * 5, [True] * 3 + [False] * 2])
    right = np.log(np.eye(3)[classes] * 0.9 + 0.03)
    measured = {"log_probabilities": right, "classes": classes, "mask": mask}
    assert method.aggregate_metrics(measured) == {"wer": 0, "frame_accuracy": 1}
    constant = np.broadcast_to(np.log([0.9, 0.05, 0.05]), right.shape)
    found = method.aggregate_metrics({**measured, "log_probabilities": constant})
    assert found == {"wer": 1, "frame_accuracy": 3 / 8}
