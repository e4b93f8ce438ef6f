"""FlowNetS against outputs of the PyTorch network of the same weights."""

import jax
import numpy as np
import pytest

from lipsync_jax.methods.flownet.model import FlowNetS
from tests.golden.glance import parity, recipe
from tests.helpers import networks
from tests.helpers.networks import abstract_variables, count_parameters, random_array

PAIR = (64, 64, 6)
NAMES = [
    *("conv_1_0", "conv_2_0"),
    *(f"conv_{i}_{j}" for i in (3, 4, 5, 6) for j in (0, 1)),
    *(f"up_{i}" for i in (6, 5, 4, 3)),
    *(f"flow_{i}" for i in (6, 5, 4, 3, 2)),
    *(f"flow_up_{i}" for i in (6, 5, 4, 3)),
]


@pytest.mark.slow
@pytest.mark.parametrize("norm", [False, True])
def test_sees_the_flow_that_the_published_network_sees(norm):
    network = "flownets_bn" if norm else "flownets"
    golden, inputs = recipe.expected(network), recipe.inputs(network)
    module = FlowNetS(norm=norm)
    for run in parity.run(network, module, NAMES, inputs, double_train=norm):
        for i, (flow, rounding) in enumerate(zip(run.outputs, run.rounding, strict=True), 2):
            if f"{run.mode}/flow{i}" in golden:
                recipe.check(golden, f"{run.mode}/flow{i}", flow, rounding)
        if norm and run.mode == "train":
            recipe.check_statistics(golden, network, NAMES, run.statistics)


@pytest.mark.parametrize(("norm", "parameters"), [(False, 38_676_496), (True, 38_681_296)])
def test_published_sizes(norm, parameters):
    flows, made = abstract_variables(FlowNetS(norm=norm), PAIR)
    assert [flow.shape for flow in flows] == [(2, side, side, 2) for side in (16, 8, 4, 2, 1)]
    assert count_parameters(made["params"]) == parameters


def test_a_narrow_network_looks_at_both_frames():
    module = FlowNetS(width_mult=1 / 64)
    variables = networks.random_variables(module, PAIR)
    pair = random_array(2, *PAIR)
    run = jax.jit(lambda x: module.apply(variables, x)[0])
    flow = run(pair)
    for channel in (0, 3):
        other = pair.copy()
        other[1, ..., channel] = random_array(64, 64, seed=1)
        found = run(other)
        np.testing.assert_allclose(found[0], flow[0], atol=1e-6)
        assert np.abs(found[1] - flow[1]).max() > 1e-3


def test_refuses_other_sizes():
    with pytest.raises(ValueError, match="sides that are multiples of 64"):
        abstract_variables(FlowNetS(), (48, 64, 6))
