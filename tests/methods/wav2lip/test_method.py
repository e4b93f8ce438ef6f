import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax import methods
from lipsync_jax.configs import sync_expert as expert_config
from lipsync_jax.configs import wav2lip as wav2lip_config
from lipsync_jax.data.clip import decode_frames
from lipsync_jax.methods.wav2lip import method as wav2lip
from lipsync_jax.nn.cpu.jit import jit
from tests.conftest import toy_clip
from tests.helpers.networks import random_state


def make(**changes):
    config = wav2lip_config.get_config("small_data")
    config.model.width_mult = 0.03
    config.augment_magnitude = 0.0
    config.update(changes)
    return methods.load(config, {"expert": {"config": expert_config.get_config("tiny").to_dict()}})


def test_each_frame_has_its_own_audio_and_the_reference_is_another_window():
    clip = toy_clip("s/0", 0)
    method = make(windows_per_clip=4)
    example = method.make_example(clip, np.random.default_rng(0))
    every = decode_frames(clip, range(40))
    mel = np.pad(method._sampler._feature_cache.mel(clip), ((16, 16), (0, 0)), constant_values=-4)
    for i in range(4):
        start, reference = (
            next(s for s in range(36) if np.array_equal(every[s : s + 5], example[name][i]))
            for name in ("frames", "reference")
        )
        assert start != reference
        shared = start * 16 // 5
        np.testing.assert_array_equal(example["sync_audio"][i], mel[16 + shared : 32 + shared])
        for t in range(5):
            # Training of the published model starts the window one frame early .
            own = ((start + t - 1) * 16) // 5
            np.testing.assert_array_equal(example["audio"][i, t], mel[16 + own : 32 + own])


def test_published_windows_have_their_audio_inside_of_the_clip():
    clip = toy_clip("s/0", 0)
    method = make(windows_per_clip=200, edge_windows="reject")
    columns = len(method._sampler._feature_cache.mel(clip))
    allowed = np.flatnonzero(method._sampler._may_sample(clip, 36))
    # As published: frame 0 has no audio before it, and a window's audio ends with the clip.
    last = max(s for s in range(36) if (s + 4 - 1) * 16 // 5 + 16 <= columns)
    assert allowed.tolist() == list(range(1, last + 1))
    assert make(edge_windows="pad")._sampler._may_sample(clip, 36).all()


def test_the_lower_half_is_masked():
    faces = jnp.ones((2, 96, 96, 3))
    masked = np.asarray(wav2lip.mask_lower_half(faces))
    assert masked[:, :48].all() and not masked[:, 48:].any()


def test_the_sync_loss_is_switched_on_once_and_stays_on():
    method = make()
    off = {"sync_weight": 0.0}
    assert method.on_validation_end(off, {"sync_loss": 1e9}) == off
    on = method.on_validation_end(off, {"sync_loss": 0.1})
    assert on["sync_weight"] == method.config.loss.sync > 0
    assert method.on_validation_end(on, {"sync_loss": 1e9}) == on


def test_mouth_error_is_of_the_mouth_only():
    target = jnp.zeros((1, 96, 96, 3))
    assert float(wav2lip.mouth_absolute_error(target.at[:, :50].set(1.0), target).max()) == 0
    assert float(wav2lip.mouth_absolute_error(target.at[:, 72, 48].set(1.0), target).max()) == 1


@pytest.mark.slow
def test_a_clip_alone_in_its_batch_has_no_error_of_mismatched_audio():
    method, name = make(windows_per_clip=1), "mouth_l1_mismatched_audio"
    first, last = (
        method.make_example(toy_clip(f"s/{i}", i), np.random.default_rng(0)) for i in (0, 1)
    )
    expert = methods.load(expert_config.get_config("tiny"))
    example = expert.make_example(toy_clip("s/0", 0), np.random.default_rng(0))
    batch = {key: np.stack([values] * 2) for key, values in example.items()}
    frozen = random_state(expert, batch).networks
    evaluate = jit(method.eval_step)

    def measured(*examples):
        batch = {key: np.stack([example[key] for example in examples]) for key in first}
        batch["mean_frame"] = batch["frames"].mean(axis=(1, 2)).astype(np.uint8)
        state = random_state(method, batch)
        state = state.replace(networks={**state.networks, **frozen})
        return jax.device_get(evaluate(state, batch))

    padded = measured(last, last)  # the end of a split: an example and its copy
    assert np.isnan(padded[name]).all()
    assert all(np.isfinite(values).all() for key, values in padded.items() if key != name)
    whole = measured(first, last)
    assert (whole[name] != whole["mouth_l1"]).all()


def test_examples_without_an_error_of_mismatched_audio_are_left_out_of_its_mean():
    method, name = make(), "mouth_l1_mismatched_audio"
    others = ("mouth_l1", "mouth_laplacian_variance", "mouth_laplacian_variance_real")
    values = np.float32([0.25, 0.5, 0.75])
    measured = dict.fromkeys(others, values)
    found = method.aggregate_metrics({**measured, name: np.float32([0.25, 0.5, np.nan])})
    assert (found[name], found["mouth_l1"]) == (0.375, 0.5)
    assert method.aggregate_metrics({**measured, name: values})[name] == 0.5
    assert name not in method.aggregate_metrics({**measured, name: np.full(3, np.nan)})
