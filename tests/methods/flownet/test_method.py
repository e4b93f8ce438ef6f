"""FlowNetS with a narrow network on synthetic pairs."""

import jax
import numpy as np
import pytest

from lipsync_jax import methods
from lipsync_jax.configs import flownet as flownet_config
from lipsync_jax.data.synthetic_flow import sample_flow_pairs
from lipsync_jax.methods import base
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.ops import optical_flow
from lipsync_jax.training import loop
from tests.helpers.networks import random_variables_like

pytestmark = pytest.mark.usefixtures("quick_programs")


def narrow():
    config = flownet_config.get_config("tiny")
    config.model.width_mult = 1 / 64
    config.data.pairs.update(train=3, validation=3, test=2)
    config.data.update(batch_size=2, validation_batch_size=2)
    return config


def batch(method, split):
    rng = np.random.default_rng(5)
    return method.collate([method.make_example(item, rng) for item in method.data_source(split)])


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
