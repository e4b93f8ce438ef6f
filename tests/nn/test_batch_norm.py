"""BatchNorm off the CPU, where both sums are taken at once, and of parts of a batch."""

import contextlib

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from lipsync_jax.nn.batch_norm import BatchNorm, batch_normalize, statistics_of_groups
from lipsync_jax.nn.cpu import plain_programs
from tests.helpers.networks import random_array

MASK = np.array([True, False, True, True])


def by_definition(x, scale, bias, mask, center, epsilon):
    """The formulas, whose derivative JAX works out."""
    del center
    rows = x if mask is None else x[np.flatnonzero(mask)]
    mean, var = rows.mean(axis=(0, 1)), rows.var(axis=(0, 1))
    return (x - mean) / jax.numpy.sqrt(var + epsilon) * scale + bias, mean, var


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("platform", [contextlib.nullcontext, plain_programs])
def test_custom_derivative_is_the_definitions(platform, mask):
    x, *vectors = (random_array(*shape, seed=i) for i, shape in enumerate([(4, 5, 3), *[(3,)] * 3]))
    weights = random_array(4, 5, 3, seed=9)

    def gradients(function):
        def loss(x, scale, bias, center):
            y, mean, var = function(x, scale, bias, mask, center, 1e-5)
            return (weights * y**2).sum(), (y, mean, var)

        given = [v.astype(float) for v in (7 + 3 * x, *vectors)]
        return jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(*given)

    with jax.enable_x64(True), platform():
        found, expected = gradients(batch_normalize), gradients(by_definition)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_nothing_cancels_near_the_running_mean():
    x = 1e-2 * random_array(64, 4) + 100
    center = np.full(4, 100, np.float32)
    with plain_programs():
        _, mean, var = jax.jit(
            lambda x: batch_normalize(x, np.ones(4, np.float32), 0 * center, None, center, 1e-8)
        )(x)
    np.testing.assert_allclose(mean, x.astype(float).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(var, x.astype(float).var(axis=0), rtol=1e-3)


@pytest.mark.parametrize("mask", [None, MASK, np.array([True, True, False, False])])
def test_parts_of_a_batch_have_statistics_of_their_own(mask):
    module, x = BatchNorm(), random_array(4, 5, 3)
    variables = module.init(jax.random.key(0), x, False)

    def apply(x, mask):
        return module.apply(variables, x, True, mask, mutable=["batch_stats"])

    with statistics_of_groups(2):
        y, new = apply(x, mask)
    masks = (None, None) if mask is None else np.split(mask, 2)
    parts = [apply(part, own) for part, own in zip(np.split(x, 2), masks, strict=True)]
    items = [2 if own is None else own.sum() for own in masks]
    valid = slice(None) if mask is None else mask
    expected = np.concatenate([part for part, _ in parts])
    np.testing.assert_allclose(y[valid], expected[valid], atol=1e-5)
    for name, value in new["batch_stats"].items():
        own = np.average([stats["batch_stats"][name] for _, stats in parts], 0, items)
        np.testing.assert_allclose(value, own, atol=1e-6)


def test_a_batch_that_does_not_split_into_the_parts_is_refused():
    module, x = BatchNorm(), random_array(5, 3)
    variables = module.init(jax.random.key(0), x, False)
    with (
        statistics_of_groups(2),
        pytest.raises(ValueError, match=r"of 5 can't .* in 2 .*batch_statistics=global"),
    ):
        module.apply(variables, x, True, mutable=["batch_stats"])


@pytest.mark.parametrize(("groups", "sums"), [(1, 2), (8, 0)])
def test_sums_over_devices(groups, sums):
    """One forward and one backward; none where each device has statistics of its own."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    split, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    module, x = BatchNorm(), random_array(16, 5, 3)
    variables = module.init(jax.random.key(0), x, False)

    def gradient(variables, x):
        def loss(x):
            y, _ = module.apply(variables, x, True, mutable=["batch_stats"])
            return (y**3).sum()

        return jax.grad(loss)(x)

    step = jax.jit(gradient, in_shardings=(whole, split), out_shardings=split)
    with plain_programs(), statistics_of_groups(groups):
        text = step.lower(variables, x).compile().as_text()
    assert text.count(" all-reduce(") + text.count(" all-reduce-start(") == sums


@pytest.mark.parametrize("mask", [None, MASK])
def test_no_array_is_larger_than_the_input(mask):
    """A stack of what is summed would be stored, on TPUs as most of a BatchNorm's traffic."""
    x, *vectors = (random_array(*shape) for shape in [(4, 50, 3), *[(3,)] * 3])

    def loss(x, scale, bias, center):
        return batch_normalize(x, scale, bias, mask, center, 1e-5)[0].sum()

    with plain_programs():
        program = jax.make_jaxpr(jax.grad(loss, (0, 1, 2)))(x, *vectors)
    sizes = [out.aval.size for equation in program.eqns for out in equation.outvars]
    assert max(sizes) == x.size
