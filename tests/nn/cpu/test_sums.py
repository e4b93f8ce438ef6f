"""Sums of many rows: as exact as sums of few, on one device and on several."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from lipsync_jax.nn.batch_norm import batch_normalize
from lipsync_jax.nn.cpu import programs_for
from lipsync_jax.nn.cpu.sums import sum_rows
from lipsync_jax.training import sharding


@pytest.mark.parametrize("rows", [1, 7, 144, 73728])
def test_rounding_does_not_grow_with_the_rows(rows):
    x = np.random.default_rng(0).normal(0.5, 0.01, (rows, 4)).astype(np.float32)
    # 73728 rows added one after the other have an error of 7e-6.
    np.testing.assert_allclose(jax.jit(sum_rows)(x), x.astype(float).sum(0), rtol=2e-6)


def _mean_and_gradients(x, scale):
    def loss(x, scale):
        y, mean, _ = batch_normalize(x, scale, 0 * scale, None, 0 * scale, 1e-5)
        return jnp.mean(jnp.sin(y)), mean

    (grad_x, grad_scale), mean = jax.grad(loss, argnums=(0, 1), has_aux=True)(x, scale)
    return mean, grad_x, grad_scale


def _exact_mean_and_gradients(x):
    """Computes the definitions (Ioffe and Szegedy 2015, section 3) in float64, for a scale of 1."""
    x, axes = x.astype(np.float64), (0, 1, 2)
    mean, deviation = x.mean(axes), np.sqrt(x.var(axes) + 1e-5)
    y = (x - mean) / deviation
    grad = np.cos(y) / y.size
    grad_x = grad - grad.mean(axes) - y * (grad * y).mean(axes)
    return mean, grad_x / deviation, (grad * y).sum(axes)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_batch_norm_on_any_number_of_devices_equals_float64(count):
    # Squares make the gradient by the scale differ from 0; means exceed deviations, as in images.
    x = np.random.default_rng(0).normal(0, 0.3, (16, 48, 96, 4)).astype(np.float32) ** 2 + 0.3
    mesh = sharding.make_mesh(jax.devices()[:count])
    split = NamedSharding(mesh, PartitionSpec("data"))
    same = NamedSharding(mesh, PartitionSpec())
    with programs_for("cpu", count):
        found = jax.jit(_mean_and_gradients, in_shardings=(split, same))(x, np.ones(4, np.float32))
    for value, exact in zip(found, _exact_mean_and_gradients(x), strict=True):
        error = np.linalg.norm(value - exact) / np.linalg.norm(exact)
        assert error < 5e-6
