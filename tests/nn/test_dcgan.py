import functools

import jax
import numpy as np
import pytest
from jax import lax

from lipsync_jax.nn.conv import conv_transpose
from lipsync_jax.nn.dcgan import DCGANBlock, identity
from tests.helpers import networks
from tests.helpers.networks import random_array


def plain(features, kernel=(), *options, **fields):
    """A linear layer alone."""
    return DCGANBlock(features, kernel, *options, norm=False, activation=identity, **fields)


def run(module, x, **options):
    """Output and variables in evaluation."""
    variables = networks.random_variables(module, x.shape[1:], n=len(x), train=False, **options)
    return module.apply(variables, x, False, **options), variables


def test_a_kernel_as_large_as_the_image_is_a_convolution():
    x = random_array(2, 4, 3, 5)
    y, variables = run(plain(6, (4, 3)), x)
    kernel = variables["params"]["kernel"]
    expected = lax.conv_general_dilated(
        x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(y, expected, atol=1e-6)


def test_a_single_position_grows_as_in_a_transposed_convolution():
    x = random_array(2, 1, 1, 5)
    y, variables = run(plain(6, (4, 3), transposed=True), x)
    expected = conv_transpose(x, variables["params"]["kernel"], (1, 1), (0, 0))
    np.testing.assert_allclose(y, expected, atol=1e-6)


def test_dense_and_over_time():
    dense, variables = run(plain(6, bias=True), random_array(2, 5))
    assert dense.shape == (2, 6) and variables["params"]["kernel"].shape == (5, 6)
    audio, variables = run(plain(6, (10,), 5, 3), random_array(2, 25, 4))
    assert audio.shape == (2, 5, 6) and variables["params"]["kernel"].shape == (10, 4, 6)


@pytest.mark.parametrize("transposed", [False, True])
def test_what_a_clip_shares_is_as_if_repeated(transposed):
    module = plain(3, (3, 3), padding=1, transposed=transposed, bias=True)
    x, reference = random_array(6, 4, 4, 2), random_array(2, 4, 4, 5, seed=1)
    shared, variables = run(module, x, reference=reference)
    repeated = np.concatenate([x, np.repeat(reference, 3, axis=0)], axis=-1)
    np.testing.assert_allclose(shared, module.apply(variables, repeated, False), atol=1e-6)


def test_statistics_leave_padding_out():
    module = DCGANBlock(3, (3, 3), padding=1)
    x, mask = random_array(4, 5, 5, 2), np.array([True, False, True, True])
    x[1] = 100
    variables = networks.random_variables(module, x.shape[1:], train=False)
    apply = jax.jit(functools.partial(module.apply, train=True, mutable=["batch_stats"]))
    padded, updated = apply(variables, x, mask=mask)
    expected, alone = apply(variables, x[mask])
    np.testing.assert_allclose(padded[mask], expected, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), updated, alone)


def test_starts_as_dcgan_does():
    module = DCGANBlock(64, (4, 4), 2, 1, bias=True)
    variables = jax.jit(module.init, static_argnums=2)(
        jax.random.key(0), random_array(1, 8, 8, 32), False
    )
    params = variables["params"]
    assert abs(params["kernel"].std() - 0.02) < 0.001
    assert abs(params["norm"]["scale"].mean() - 1) < 0.01
    assert 0.01 < params["norm"]["scale"].std() < 0.03
    assert not params["bias"].any() and not params["norm"]["bias"].any()
