import flax.linen as nn
import jax
import numpy as np
import pytest

from lipsync_jax.nn import folding
from lipsync_jax.nn.blocks import ConvNormAct
from lipsync_jax.nn.conv import ConvBlock


class Network(nn.Module):
    """Every kind of layer that can be folded, and one without BatchNorm."""

    @nn.compact
    def __call__(self, x, train=False):
        x = ConvBlock(6, name="plain")(x, train)
        x = ConvBlock(6, residual=True, name="residual")(x, train)
        x = ConvBlock(6, strides=2, transposed=True, output_padding=1, name="up")(x, train)
        x = ConvNormAct(5, (3, 3), padding=1, epsilon=0.1, name="no_bias")(x, train)
        x = ConvNormAct(5, (3, 3), transposed=True, bias=True, name="bias")(x, train)
        return ConvBlock(2, norm=False, activation=None, name="head")(x, train)


@pytest.fixture(scope="module")
def network():
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    variables = jax.eval_shape(Network().init, jax.random.key(0), x)
    rng = np.random.default_rng(1)
    variables = jax.tree.map(lambda v: rng.uniform(0.5, 1, v.shape).astype(np.float32), variables)
    variables["params"] = jax.tree.map(lambda v: v - np.float32(0.7), variables["params"])
    with folding.skip_batch_norm() as layers:
        jax.eval_shape(Network().apply, variables, x)
    return x, variables, folding.fold_batch_norm(variables, layers)


def test_a_folded_network_computes_the_same(network):
    x, variables, folded = network

    def skip(variables, x):
        with folding.skip_batch_norm():
            return Network().apply(variables, x)

    expected = jax.jit(Network().apply)(variables, x)
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(jax.jit(skip)(folded, x), expected, rtol=1e-4, atol=1e-5)


def test_folding_keeps_the_structure_and_layers_without_batch_norm(network):
    _, variables, folded = network
    assert jax.tree.map(np.shape, folded) == jax.tree.map(np.shape, variables)
    for name, changes in (("plain", True), ("bias", True), ("head", False)):
        kernels = [
            tree["params"][name].get("conv", tree["params"][name]) for tree in (folded, variables)
        ]
        assert changes != np.array_equal(*(kernel["kernel"] for kernel in kernels))
    assert folded["params"]["no_bias"]["norm"]["bias"].any()
