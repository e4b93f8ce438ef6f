"""Kernel gradients that are summed in float32 and rounded last."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lipsync_jax.nn.conv import conv_transpose, convolve
from lipsync_jax.nn.cpu import programs_for
from lipsync_jax.nn.gradient_sums import float32_kernel_gradients, multiply
from tests.helpers.networks import random_array

PADS = ((1, 0), (2, 1))
FUNCTIONS = {
    "convolution": (lambda x, k: convolve(x, k, (2, 1), PADS), (3, 7, 6, 4), (3, 2, 4, 5)),
    "signal": (lambda x, k: convolve(x, k, (3,), ((2, 2),)), (3, 20, 4), (5, 4, 5)),
    "transposed": (
        lambda x, k: conv_transpose(x, k, (2, 2), (1, 1), (1, 0)),
        (3, 5, 4, 4),
        (3, 3, 5, 4),
    ),
    "product": (multiply, (8, 4), (4, 5)),
}


def gradients(function, x, kernel, active):
    with programs_for("tpu", 1), float32_kernel_gradients(active):
        return jax.jit(jax.grad(lambda x, k: (function(x, k) ** 2).sum(), (0, 1))).lower(x, kernel)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_are_the_same_and_their_sums_wider(name):
    function, *shapes = FUNCTIONS[name]
    x, kernel = (jnp.asarray(random_array(*shape), jnp.bfloat16) for shape in shapes)
    plain, wide = (gradients(function, x, kernel, active) for active in (False, True))
    for found, expected in zip(wide.compile()(x, kernel), plain.compile()(x, kernel), strict=True):
        assert found.dtype == expected.dtype == jnp.bfloat16
        scale = np.abs(np.float32(expected)).max()
        np.testing.assert_allclose(np.float32(found), np.float32(expected), atol=0.02 * scale)
    assert [products_in_float32(x) for x in (plain, wide)] == [0, 1]


def products_in_float32(lowered):
    lines = lowered.as_text().splitlines()
    products = [x for x in lines if "stablehlo.convolution" in x or "stablehlo.dot_general" in x]
    assert len(products) in (2, 3)
    return sum(line.endswith("xf32>") for line in products)


def test_float32_kernels_are_left_to_xla():
    function, *shapes = FUNCTIONS["convolution"]
    x, kernel = (random_array(*shape) for shape in shapes)
    plain, wide = (gradients(function, x, kernel, active).as_text() for active in (False, True))
    assert plain == wide
