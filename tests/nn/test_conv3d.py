import contextlib
import re

import jax
import numpy as np
import pytest
from jax import lax

from lipsync_jax.nn import conv
from lipsync_jax.nn.cpu import plain_programs
from tests.helpers.networks import random_array

AXES = ("NDHWC", "DHWIO", "NDHWC")
# (kernel, inputs, outputs, strides, padding)
SHAPES = [
    ((3, 3, 3), 4, 6, (1, 2, 2), (1, 1, 1)),
    ((4, 4, 4), 3, 5, (2, 2, 2), (1, 1, 1)),
    ((1, 3, 3), 4, 4, (1, 1, 1), (0, 1, 1)),
    ((3, 3, 3), 2, 4, (2, 1, 1), (1, 1, 1)),
    ((7, 5, 3), 6, 2, (1, 1, 1), (3, 2, 1)),  # fewer outputs than inputs
    ((2, 4, 4), 6, 2, (2, 2, 2), (0, 1, 1)),
    ((3, 3, 3), 6, 2, (3, 1, 2), (2, 0, 1)),
]
# (kernel, inputs, outputs, strides, padding, output padding)
TRANSPOSED = [
    ((3, 3, 3), 4, 3, (1, 2, 2), (1, 1, 1), (0, 1, 1)),
    ((4, 4, 4), 4, 3, (2, 2, 2), (1, 1, 1), (0, 0, 0)),
    ((2, 4, 4), 4, 3, (1, 1, 1), (0, 0, 0), (0, 0, 0)),
    ((2, 4, 4), 4, 3, (2, 2, 2), (1, 1, 1), (0, 0, 0)),
    ((3, 5, 3), 4, 3, (3, 1, 2), (0, 2, 1), (1, 0, 1)),
]


def check_with_gradients(ours, reference, *inputs):
    out, pull = jax.vjp(jax.jit(ours), *inputs)
    expected, pull_expected = jax.vjp(jax.jit(reference), *inputs)
    np.testing.assert_allclose(out, expected, atol=2e-5)
    weights = random_array(*out.shape, seed=2)
    for one, other in zip(pull(weights), pull_expected(weights), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_convolution(shape):
    size, inputs, outputs, strides, padding = shape

    pads = tuple((p, p) for p in padding)

    def reference(x, kernel):
        return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=AXES)

    x, kernel = random_array(2, 5, 6, 7, inputs), random_array(*size, inputs, outputs, seed=1)
    check_with_gradients(lambda *both: conv.convolve(*both, strides, pads), reference, x, kernel)


@pytest.mark.parametrize("shape", TRANSPOSED)
def test_transposed_convolution(shape):
    size, inputs, outputs, *options = shape
    strides, padding, extra = options
    pads = [(k - 1 - p, k - 1 - p + e) for k, p, e in zip(size, padding, extra, strict=True)]

    def reference(x, kernel):
        return lax.conv_transpose(
            x, kernel, strides, pads, dimension_numbers=AXES, transpose_kernel=True
        )

    x, kernel = random_array(2, 3, 4, 5, inputs), random_array(*size, outputs, inputs, seed=1)
    check_with_gradients(lambda *both: conv.conv_transpose(*both, *options), reference, x, kernel)


@pytest.mark.parametrize("platform", [contextlib.nullcontext, plain_programs])
def test_no_3d_convolution_is_left_to_the_compiler(platform):
    x, kernel = random_array(1, 4, 5, 5, 3), random_array(3, 3, 3, 3, 3, seed=1)

    def loss(x, kernel):
        y = conv.convolve(x, kernel, (1, 2, 2), ((1, 1),) * 3)
        return conv.conv_transpose(y, kernel, (2, 2, 2), (1, 1, 1)).sum()

    with platform():
        text = str(jax.make_jaxpr(jax.grad(loss, (0, 1)))(x, kernel))
    axes = [len(spec.split(",")) for spec in re.findall(r"lhs_spec=\(([\d, ]+)\)", text)]
    assert axes and set(axes) == {4}


def test_refuses_a_clip_shorter_than_the_kernel():
    with pytest.raises(ValueError, match=r"kernel of 7 frames does not fit 5 \(padding included\)"):
        x, kernel = random_array(1, 3, 8, 8, 2), random_array(7, 3, 3, 2, 4)
        conv.convolve(x, kernel, (1, 1, 1), ((1, 1),) * 3)
