"""Rematerialised blocks: the same values and gradients, fewer arrays kept for the backward pass."""

import math

import flax.linen as nn
import jax
import numpy as np
import pytest

from lipsync_jax.nn.blocks import ConvNormAct
from lipsync_jax.nn.conv import ConvBlock
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.nn.dcgan import DCGANBlock
from lipsync_jax.nn.remat import rematerialized_blocks
from tests.helpers.networks import random_array, random_variables

BLOCKS = {
    "ConvBlock": lambda x, train, i: ConvBlock(4, residual=i > 0, name=f"block_{i}")(x, train),
    "ConvNormAct": lambda x, train, i: ConvNormAct(4, (3, 3), 1, 1, bias=True)(x, train),
    "DCGANBlock": lambda x, train, i: DCGANBlock(4, (3, 3), 1, 1, name=f"block_{i}")(
        x, train, np.array([True, True, False]), x[:1, ..., :1]
    ),
}


class Stack(nn.Module):
    """Blocks of one kind."""

    kind: str

    @nn.compact
    def __call__(self, x, train):
        """Maps (n, height, width, channels) to (n, height, width, 4)."""
        for i in range(3):
            x = BLOCKS[self.kind](x, train, i)
        return x


@pytest.mark.parametrize("kind", BLOCKS)
def test_values_and_gradients_are_the_same_and_less_is_kept(kind):
    x, module = random_array(3, 8, 8, 4), Stack(kind)
    variables = random_variables(module, x.shape[1:], n=3, train=True)

    def loss(params, active):
        with rematerialized_blocks(active):
            y, stats = module.apply({**variables, "params": params}, x, True, mutable=True)
        return (y**2).mean(), stats

    def both(params):
        return [jax.value_and_grad(loss, has_aux=True)(params, on) for on in (False, True)]

    plain, rematerialized = jit(both, optimize=False)(variables["params"])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), plain, rematerialized
    )
    kept = []
    for on in (False, True):
        residuals = jax.eval_shape(
            lambda p, on=on: jax.vjp(lambda p: loss(p, on), p, has_aux=True)[1],
            variables["params"],
        )
        kept.append(sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(residuals)))
    assert kept[1] < 0.6 * kept[0]


def test_initialization_is_the_same():
    x, module = random_array(2, 8, 8, 4), Stack("ConvNormAct")
    plain = jax.eval_shape(lambda: module.init(jax.random.key(0), x, True))
    with rematerialized_blocks():
        assert jax.eval_shape(lambda: module.init(jax.random.key(0), x, True)) == plain
