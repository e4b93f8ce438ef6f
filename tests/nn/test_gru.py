import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax.nn.gru import GRU, merge_time, split_time, zero_carry
from tests.helpers.networks import random_array

N, TIME, INPUTS, FEATURES = 3, 7, 4, 5


@pytest.fixture(scope="module")
def unit():
    """Two layers with weights, and a jitted application."""
    module = GRU(FEATURES, 2)
    variables = module.init(jax.random.key(0), random_array(N, TIME, INPUTS))
    return variables, jax.jit(module.apply)


def by_definition(params, x, layer, state):
    """The formulas of the class, one step and one gate after the other, in float64."""

    def sigmoid(v):
        return 1 / (1 + np.exp(-v))

    kernel, bias, hidden_kernel, hidden_bias = (
        np.split(np.asarray(params[f"{name}_{layer}"], np.float64), 3, axis=-1)
        for name in ("input_kernel", "input_bias", "hidden_kernel", "hidden_bias")
    )
    states = []
    for moment in x.swapaxes(0, 1):
        given = [moment @ kernel[i] + bias[i] for i in range(3)]
        own = [state @ hidden_kernel[i] + hidden_bias[i] for i in range(3)]
        reset, keep = sigmoid(given[0] + own[0]), sigmoid(given[1] + own[1])
        state = (1 - keep) * np.tanh(given[2] + reset * own[2]) + keep * state
        states.append(state)
    return state, np.stack(states, axis=1)


def test_computes_its_definition(unit):
    variables, apply = unit
    x, carry = random_array(N, TIME, INPUTS), 0.5 * random_array(2, N, FEATURES, seed=1)
    with jax.default_matmul_precision("highest"):
        states, y = apply(variables, x, carry)
    first, between = by_definition(variables["params"], x, 0, carry[0])
    second, expected = by_definition(variables["params"], between, 1, carry[1])
    np.testing.assert_allclose(y, expected, atol=1e-6)
    np.testing.assert_allclose(states, [first, second], atol=1e-6)


def test_weights_are_within_the_published_bounds(unit):
    params = unit[0]["params"]
    assert sum(leaf.size for leaf in params.values()) == 3 * FEATURES * (4 + 5 + 2 + 5 + 5 + 2)
    for leaf in params.values():
        assert 0.5 < np.abs(leaf).max() * FEATURES**0.5 <= 1


def test_goes_on_where_it_stopped(unit):
    variables, apply = unit
    x = random_array(N, TIME, INPUTS)
    carry, whole = apply(variables, x)
    middle, begun = apply(variables, x[:, :3], zero_carry(2, N, FEATURES))
    end, rest = apply(variables, x[:, 3:], middle)
    np.testing.assert_allclose(np.concatenate([begun, rest], axis=1), whole, atol=1e-6)
    np.testing.assert_allclose(end, carry, atol=1e-6)


def test_padding_leaves_no_trace(unit):
    variables, apply = unit
    lengths = [7, 4, 1]
    x = random_array(N, TIME, INPUTS)
    mask = np.arange(TIME) < np.array(lengths)[:, None]
    carry, y = apply(variables, np.where(mask[..., None], x, 1e3), None, mask)
    for i, length in enumerate(lengths):
        alone, expected = apply(variables, x[i : i + 1, :length])
        np.testing.assert_allclose(y[i, :length], expected[0], atol=1e-6)
        np.testing.assert_array_equal(y[i, length:], 0)
        np.testing.assert_allclose(carry[:, i], alone[:, 0], atol=1e-6)

    def loss(x):
        carry, y = apply(variables, x, None, mask)
        return jnp.sum(carry**2) + jnp.sum(y**2)

    gradient = jax.grad(loss)(x)
    assert np.all((np.abs(gradient).max(axis=-1) > 0) == mask)


def test_keeps_its_state_in_float32():
    module = GRU(FEATURES, dtype=jnp.bfloat16)
    (carry, y), variables = jax.eval_shape(
        lambda: module.init_with_output(jax.random.key(0), jnp.zeros((N, TIME, INPUTS)))
    )
    assert {leaf.dtype for leaf in jax.tree.leaves((carry, y, variables))} == {np.dtype("float32")}


def test_folds_time_into_the_batch_and_back():
    x = random_array(2, 3, 4)
    np.testing.assert_array_equal(merge_time(x)[4], x[1, 1])
    np.testing.assert_array_equal(split_time(merge_time(x), 3), x)
    assert merge_time(None) is None
