import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax.configs import common
from lipsync_jax.methods.base import make_optimizer
from tests.helpers.networks import random_array


def rates(steps, **fields):
    """Returns learning rates: with equal gradients each of Adam's steps is as long as its rate."""
    optimizer = make_optimizer(common.optimizer(0.1, **fields))
    params = jnp.zeros(())
    state, found = optimizer.init(params), []
    for _ in range(steps):
        update, state = optimizer.update(jnp.ones(()), state, params)
        found.append(-float(update))
    return np.array(found)


def test_the_rate_falls_by_steps_from_a_step_on():
    found = rates(8, lr_decay=0.5, lr_decay_from=3, lr_decay_every=2)
    assert found == pytest.approx(0.1 * np.array([1, 1, 1, 1, 1, 0.5, 0.5, 0.25]), rel=1e-3)


def test_the_rate_is_constant_by_default():
    assert rates(3) == pytest.approx([0.1] * 3, rel=1e-3)
    assert rates(3, lr_decay=0.5, lr_decay_from=0, lr_decay_every=0) == pytest.approx(
        [0.1] * 3, rel=1e-3
    )


def test_a_schedule_that_ends_in_its_warm_up_is_refused():
    with pytest.raises(ValueError, match=r"lr_decay_steps=2 is not above .*warmup_steps=30; .*"):
        make_optimizer(common.optimizer(0.1, lr_decay_steps=2, warmup_steps=30))


def test_epsilon_is_that_of_the_config():
    assert common.optimizer(0.1).eps == 1e-8
    # The first step of Adam is g / (|g| + epsilon) long.
    assert rates(1, eps=1.0) == pytest.approx([0.05], rel=1e-3)


def test_accumulated_steps_are_one_step_of_the_mean_gradient():
    gradients = random_array(6, 3)
    fields = {"learning_rate": 0.1, "clip_norm": 0.5, "warmup_steps": 2}

    def train(gradients, **more):
        optimizer = make_optimizer(common.optimizer(**fields, **more))
        params = jnp.ones(3)
        state, seen = optimizer.init(params), []
        for gradient in gradients:
            update, state = optimizer.update(gradient, state, params)
            params = params + update
            seen.append(params)
        return np.array(seen)

    found = train(gradients, accumulate_steps=3)
    expected = train(gradients.reshape(2, 3, 3).mean(axis=1))
    np.testing.assert_allclose(found[2::3], expected, rtol=1e-6)
    np.testing.assert_array_equal(found[:2], 1)
