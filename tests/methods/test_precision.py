"""Training in bfloat16 beside training in float32."""

import jax
import numpy as np
import pytest

from lipsync_jax import methods
from lipsync_jax.configs import sync_expert as expert_config
from lipsync_jax.configs import wav2lip as wav2lip_config
from lipsync_jax.methods.base import init_train_state
from lipsync_jax.nn.cpu.jit import jit
from tests.golden import networks as golden_networks
from tests.helpers.networks import random_state

STEPS, FRAMES = 100, 2


def window(seed):
    """A window of frames of one colour each, with audio."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (2, 1, 1, FRAMES, 1, 1, 3), np.uint8)
    frames, reference = np.broadcast_to(colours, (2, 1, 1, FRAMES, 96, 96, 3))
    return {
        "frames": frames,
        "reference": reference,
        "audio": rng.standard_normal((1, 1, FRAMES, 16, 80)).astype(np.float32),
        "sync_audio": rng.standard_normal((1, 1, 16, 80)).astype(np.float32),
    }


def mean_losses(precision):
    """Means of ten losses each of steps on two windows in turn, from the same random weights."""
    config = wav2lip_config.get_config("accelerator")
    assert config.precision == "bfloat16"
    config.precision = precision
    config.model.width_mult, config.model.depth_mult = 0.03, 0.0
    expert = {"config": expert_config.get_config("tiny").to_dict()}
    method = methods.load(config, {"expert": expert})
    method = method.without_terms(frozenset(method.switches))
    windows = [window(seed) for seed in range(2)]
    networks = random_state(method, windows[0]).networks
    state = init_train_state(jax.random.key(0), networks, sync_weight=0.0)
    step, losses = jit(method.train_step, donate_argnums=0), []
    for i in range(STEPS):
        state, scalars = step(state, windows[i % 2], jax.random.key(i))
        losses.append(float(scalars["loss"]))
    network = state.networks["generator"]
    stored = jax.tree.leaves((network.params, network.batch_stats, network.opt_state))
    assert {leaf.dtype.name for leaf in stored} == {"float32", "int32"}
    return np.array(losses).reshape(10, -1).mean(axis=1)


@pytest.mark.slow
def test_losses_in_bfloat16_are_within_two_percent_of_those_in_float32():
    narrow, exact = mean_losses("bfloat16"), mean_losses("float32")
    assert exact[-1] < 0.95 * exact[0]  # the steps do learn
    np.testing.assert_allclose(narrow, exact, rtol=0.02)


@pytest.mark.parametrize(
    "network",
    [
        "quality_discriminator",
        *(pytest.param(x, marks=pytest.mark.slow) for x in ("sync_expert", "wav2lip", "tgan")),
    ],
)
def test_golden_outputs_in_bfloat16(network):
    golden = golden_networks.load(network, "bfloat16")
    outputs = np.asarray(jit(golden.function)(*golden.inputs), np.float32)
    np.testing.assert_allclose(outputs, golden.expected, rtol=0, atol=golden.tolerance)
    # The computation is in bfloat16 indeed: float32 is exact to 1e-5.
    assert np.abs(outputs - golden.expected).max() > 1e-3
