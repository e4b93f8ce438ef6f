"""FlowNetS with a narrow network on synthetic pairs."""

import dataclasses

import cv2
import jax
import numpy as np
import pytest

from lipsync_jax import methods
from lipsync_jax.configs import flownet as flownet_config
from lipsync_jax.configs import flownet_lips as flownet_lips_config
from lipsync_jax.data.clip import decode_frames
from lipsync_jax.data.synthetic_flow import sample_flow_pair, sample_flow_pairs
from lipsync_jax.data_prep.synthetic.render_clips import render_speaker
from lipsync_jax.methods import base
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.ops import optical_flow
from lipsync_jax.training import loop
from tests.helpers.networks import random_variables_like

pytestmark = pytest.mark.usefixtures("quick_programs")

PAIR = ("first", "second")


def narrow():
    config = flownet_config.get_config("tiny")
    config.model.width_mult = 1 / 64
    config.data.pairs.update(train=3, validation=3, test=2)
    config.data.update(batch_size=2, validation_batch_size=2, stored_pairs=0)
    return config


def batch(method, split):
    rng = np.random.default_rng(5)
    make = method.make_example if split == "train" else method.make_validation_example
    return method.collate([make(item, rng) for item in method.data_source(split)])


def test_held_out_pairs_are_always_the_same_and_those_of_the_benchmark():
    method = methods.load(narrow())
    for split, seed in (("validation", 0), ("test", 1)):
        found, expected = (
            batch(method, split),
            sample_flow_pairs(seed, len(method.data_source(split))),
        )
        for name, values in expected._asdict().items():
            np.testing.assert_array_equal(found[name], values)
    train = batch(method, "train")
    assert len({x.tobytes() for x in train["first"]}) == 3
    assert train["flow"].shape == (3, 64, 64, 2)


def test_stored_pairs_are_reused_in_other_views():
    config = narrow()
    config.data.stored_pairs = 2
    method = methods.load(config)
    source = method.data_source("train")
    assert len(source) == 2
    stored = sample_flow_pair(source[1].rng())
    rng = np.random.default_rng(0)
    views = [method.make_example(source[1], rng) for _ in range(20)]
    assert len({view["first"].tobytes() for view in views}) > 10
    expected = endpoint_error_of_farneback(stored._asdict())
    for view in views:  # the flow still is that of the images
        assert endpoint_error_of_farneback(view) == pytest.approx(expected, abs=0.1)
        assert view["flow"].dtype == view["first"].dtype == np.float32
        assert 0 <= view["first"].min() and view["first"].max() <= 1


def endpoint_error_of_farneback(pair):
    grey = (np.rint(255 * pair[name].mean(axis=-1)).astype(np.uint8) for name in PAIR)
    flow = cv2.calcOpticalFlowFarneback(*grey, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    return np.linalg.norm(flow - pair["flow"], axis=-1).mean()


def test_fine_tuning_takes_successive_frames_of_lips_with_farnebacks_flow():
    config = flownet_lips_config.get_config("tiny")
    config.model.width_mult = 1 / 64
    method = methods.load(config)
    method.validate_config()
    assert method.data_source("train") is None
    clip = render_speaker(np.random.SeedSequence(4), "p", [0], 0.4, "lips64")[0]
    pair = method.make_example(clip, np.random.default_rng(0))
    start = int(np.random.default_rng(0).integers(9))
    frames = decode_frames(clip, range(10))[..., ::-1] / 255
    np.testing.assert_allclose(pair["first"], frames[start], atol=1e-6)
    np.testing.assert_allclose(pair["second"], frames[start + 1], atol=1e-6)
    assert np.linalg.norm(pair["flow"], axis=-1).mean() > 0.02
    assert endpoint_error_of_farneback(pair) < 0.05  # of another grey
    alone = dataclasses.replace(clip, frames=clip.frames[:1])
    with pytest.raises(ValueError, match="it has 1 frame; at least 2 are required"):
        method.make_example(alone, np.random.default_rng(0))
    config.data.crop = "face96"
    with pytest.raises(ValueError, match="crop=face96: FlowNetS takes multiples of 64"):
        method.validate_config()


def test_sides_that_do_not_halve_are_refused():
    config = narrow()
    config.data.size = 96
    with pytest.raises(ValueError, match="size=96: FlowNetS takes multiples of 64"):
        methods.load(config).validate_config()
    with pytest.raises(ValueError, match="no variant 'huge'"):
        flownet_config.get_config("huge")


@pytest.mark.slow
def test_metrics_are_pixels_of_pooled_flow():
    method = methods.load(narrow())
    test_batch = batch(method, "test")
    shapes = jax.eval_shape(method.init, jax.random.key(0), test_batch).networks["flownet"]
    params = random_variables_like(shapes.params)
    state = base.init_train_state(
        jax.random.key(0), {"flownet": base.NetworkState(params, {}, shapes.opt_state)}
    )
    found = jax.device_get(jit(method.eval_step)(state, test_batch))
    true = test_batch["flow"].reshape(2, 16, 4, 16, 4, 2).mean(axis=(2, 4))
    expected = np.linalg.norm(true, axis=-1).mean(axis=(1, 2))
    np.testing.assert_allclose(found["epe_zero_flow"], expected, rtol=1e-5)
    both = np.concatenate([test_batch["first"], test_batch["second"]], axis=-1) * 2 - 1
    predicted = optical_flow.FLOW_SCALE * np.asarray(
        method.networks["flownet"].module.apply({"params": params}, both)[0]
    )
    expected = np.linalg.norm(predicted - true, axis=-1).mean(axis=(1, 2))
    np.testing.assert_allclose(found["epe"], expected, rtol=1e-4)


@pytest.mark.slow
def test_training_needs_no_data_set(tmp_path):
    config = narrow()
    config.train.update(steps=3, validate_every=3, checkpoint_every=3, log_every=1)
    found = loop.train(config, tmp_path / "run")
    assert 0 < found["epe"] < 100
    again = loop.evaluate(config, tmp_path / "run", "test")
    assert again["epe_zero_flow"] == pytest.approx(
        float(np.linalg.norm(pooled(sample_flow_pairs(1, 2).flow), axis=-1).mean()), rel=1e-5
    )


def pooled(true):
    return true.reshape(len(true), 16, 4, 16, 4, 2).mean(axis=(2, 4))
