"""The convolutions that stand in for XLA's in float64 tests."""

import jax
import numpy as np
import pytest
from jax import lax

from tests.helpers.double_precision import convolve, double_precision


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ((3, 5), {"window_strides": (2, 1), "padding": ((1, 2), (0, 3))}),
        ((3, 3), {"window_strides": (1, 1), "padding": ((1, 1), (2, 2)), "lhs_dilation": (2, 3)}),
        ((4, 5), {"window_strides": (1, 1), "padding": ((1, -1), (0, 0)), "rhs_dilation": (2, 1)}),
        ((2, 2), {"window_strides": (1, 2), "padding": ((0, 0), (1, 1)), "rhs_dilation": (1, 3)}),
    ],
)
def test_equals_the_library_for_all_strides_and_dilations(kernel, options):
    rng = np.random.default_rng(0)
    x, weights = rng.standard_normal((2, 8, 7, 3)), rng.standard_normal((*kernel, 3, 4))
    options = {**options, "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    with jax.enable_x64(True):
        expected = lax.conv_general_dilated(x, weights, **options)
        found = convolve(x, weights, **options)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_float64_ends_with_the_context():
    with double_precision():
        assert jax.numpy.ones(()).dtype == np.float64
        assert lax.conv_general_dilated is convolve
    assert jax.numpy.ones(()).dtype == np.float32
    assert lax.conv_general_dilated is not convolve
