"""FlowNetS learns from drawn pairs: narrow, and without a data set."""

import jax
import numpy as np
import pytest

from lipsync_jax import methods
from lipsync_jax.configs import flownet as flownet_config
from lipsync_jax.data.flow_pairs import pairs
from lipsync_jax.methods import base
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.ops import optical_flow
from lipsync_jax.training import loop
from tests.helpers.networks import filled

pytestmark = pytest.mark.usefixtures("quick_programs")


def narrow():
    config = flownet_config.get_config("tiny")
    config.model.width = 1 / 64
    config.data.pairs.update(train=3, validation=3, test=2)
    config.data.update(batch_size=2, validation_batch_size=2)
    return config


def batch(method, split):
    rng = np.random.default_rng(5)
    return method.collate([method.example(draw, rng) for draw in method.source(split)])


def test_held_out_pairs_are_always_the_same_and_those_of_the_benchmark():
    method = methods.load(narrow())
    for split, seed in (("validation", 0), ("test", 1)):
        found, expected = batch(method, split), pairs(seed, len(method.source(split)))
        for name, values in expected._asdict().items():
            np.testing.assert_array_equal(found[name], values)
    train = batch(method, "train")
    assert len({x.tobytes() for x in train["first"]}) == 3
    assert train["flow"].shape == (3, 64, 64, 2)


def test_sides_that_do_not_halve_are_refused():
    config = narrow()
    config.data.size = 96
    with pytest.raises(ValueError, match="size=96: FlowNetS takes multiples of 64"):
        methods.load(config).check()
    with pytest.raises(ValueError, match="no variant 'huge'"):
        flownet_config.get_config("huge")


@pytest.mark.slow
def test_figures_are_pixels_of_pooled_flow():
    method = methods.load(narrow())
    seen = batch(method, "test")
    shapes = jax.eval_shape(method.init, jax.random.key(0), seen).players["flownet"]
    params = filled(shapes.params)
    state = base.fresh_state(
        jax.random.key(0), {"flownet": base.PlayerState(params, {}, shapes.opt_state)}
    )
    found = jax.device_get(jit(method.measure)(state, seen))
    true = seen["flow"].reshape(2, 16, 4, 16, 4, 2).mean(axis=(2, 4))
    expected = np.linalg.norm(true, axis=-1).mean(axis=(1, 2))
    np.testing.assert_allclose(found["endpoint_error_of_none"], expected, rtol=1e-5)
    both = np.concatenate([seen["first"], seen["second"]], axis=-1) * 2 - 1
    drawn = optical_flow.UNIT * np.asarray(
        method.players["flownet"].module.apply({"params": params}, both)[0]
    )
    expected = np.linalg.norm(drawn - true, axis=-1).mean(axis=(1, 2))
    np.testing.assert_allclose(found["endpoint_error"], expected, rtol=1e-4)


@pytest.mark.slow
def test_it_trains_without_a_data_set(tmp_path):
    config = narrow()
    config.train.update(steps=3, validate_every=3, checkpoint_every=3, log_every=1)
    found = loop.train(config, tmp_path / "run")
    assert 0 < found["endpoint_error"] < 100
    again = loop.evaluate(config, tmp_path / "run", "test")
    assert again["endpoint_error_of_none"] == pytest.approx(
        float(np.linalg.norm(pooled(pairs(1, 2).flow), axis=-1).mean()), rel=1e-5
    )


def pooled(true):
    return true.reshape(len(true), 16, 4, 16, 4, 2).mean(axis=(2, 4))
