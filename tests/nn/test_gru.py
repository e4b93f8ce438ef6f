import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from lipsync_jax.nn.gru import GRU, merge_time, split_time, zero_carry
from lipsync_jax.nn.gru_scan import scan_gru
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


def unrolled(inputs, kernel, bias, state, valid):
    """The recurrence step by step, whose derivative JAX works out."""
    states = []
    for given, inside in zip(inputs, valid, strict=True):
        (rx, zx, cx), (rh, zh, ch) = (
            jnp.split(part, 3, axis=-1) for part in (given, state @ kernel + bias)
        )
        keep = jax.nn.sigmoid(zx + zh)
        new = (1 - keep) * jnp.tanh(cx + jax.nn.sigmoid(rx + rh) * ch) + keep * state
        state = jnp.where(inside[:, None], new, state)
        states.append(state)
    return state, jnp.stack(states)


@pytest.mark.parametrize("lengths", [(7, 7, 7), (7, 4, 1)])
def test_custom_derivative_is_the_recurrences(lengths):
    valid = np.arange(TIME)[:, None] < np.array(lengths)
    size = 3 * FEATURES
    shapes = (TIME, N, size), (FEATURES, size), (size,), (N, FEATURES)
    weights = random_array(N, FEATURES, seed=8), random_array(TIME, N, FEATURES, seed=9)

    def gradients(function):
        def loss(*arguments):
            outputs = function(*arguments, valid)
            return sum((w * y**2).sum() for w, y in zip(weights, outputs, strict=True)), outputs

        return jax.jit(jax.grad(loss, (0, 1, 2, 3), has_aux=True))(*arguments)

    with jax.enable_x64(True):
        arguments = [random_array(*shape, seed=i).astype(float) for i, shape in enumerate(shapes)]
        found, expected = gradients(scan_gru), gradients(unrolled)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == np.float64
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)


def test_gradients_in_bfloat16_are_near_those_in_float32(unit):
    variables, x = unit[0], random_array(N, TIME, INPUTS)

    def gradients(dtype):
        module = GRU(FEATURES, dtype=dtype)
        grads = jax.jit(
            jax.grad(lambda params: (module.apply({"params": params}, x)[1] ** 2).sum())
        )(variables["params"])
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads)])

    exact, narrow = gradients(jnp.float32), gradients(jnp.bfloat16)
    assert np.linalg.norm(narrow - exact) < 0.03 * np.linalg.norm(exact)


def test_the_loop_back_through_time_has_no_sum_over_devices():
    """Else a pod waits for the gradient of the kernel at every step of time."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    split, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    module = GRU(FEATURES)
    variables = module.init(jax.random.key(0), random_array(8, TIME, INPUTS))

    def gradients(variables, x):
        return jax.grad(lambda variables: (module.apply(variables, x)[1] ** 2).sum())(variables)

    step = jax.jit(gradients, in_shardings=(whole, split), out_shardings=whole)
    text = step.lower(variables, random_array(8, TIME, INPUTS)).compile().as_text()
    computations = {part.split("(")[0].strip(): part for part in re.split(r"\n\n(?=%|ENTRY)", text)}
    loops = [computations[name] for name in re.findall(r" while\(.*body=(%[\w.]+)", text)]
    assert len(loops) == 2 and "all-reduce" in text
    assert not any("all-reduce" in loop for loop in loops)
