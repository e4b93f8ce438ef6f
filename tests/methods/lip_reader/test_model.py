"""The lip reader: sizes, both directions of time, padding."""

import jax
import numpy as np
import pytest

from lipsync_jax.methods.lip_reader.model import LipReader
from lipsync_jax.nn.cpu.jit import jit


@pytest.fixture(scope="module")
def reader():
    module = LipReader(width_mult=0.25, num_words=5, hidden_size=8)
    mouths = np.random.default_rng(0).normal(size=(2, 12, 16, 24, 1)).astype(np.float32)
    mask = np.ones((2, 12), bool)
    variables = jit(module.init, optimize=False)(jax.random.key(0), mouths, mask)
    return jit(module.apply), variables, mouths, mask


def test_every_frame_knows_what_comes_before_and_behind_it(reader):
    apply, variables, mouths, mask = reader
    logits = np.asarray(apply(variables, mouths, mask))
    assert logits.shape == (2, 12, 6) and logits.dtype == np.float32
    changed = mouths.copy()
    changed[0, 6] += 1
    moved = np.abs(np.asarray(apply(variables, changed, mask)) - logits).max(axis=-1)
    assert (moved[0] > 0).all()
    assert not moved[1].any()


def test_what_is_behind_the_end_changes_nothing(reader):
    apply, variables, mouths, mask = reader
    mask = mask.copy()
    mask[:, 9:] = False
    logits = np.asarray(apply(variables, mouths, mask))
    changed = mouths.copy()
    changed[:, 9:] += 1
    np.testing.assert_array_equal(np.asarray(apply(variables, changed, mask))[:, :9], logits[:, :9])


def test_lip_nets_sizes():
    module = LipReader()
    mouths = jax.ShapeDtypeStruct((1, 75, 48, 64, 1), np.float32)
    shapes = jax.eval_shape(
        module.init, jax.random.key(0), mouths, jax.ShapeDtypeStruct((1, 75), bool)
    )["params"]
    assert shapes["conv_0"]["kernel"].shape == (3, 5, 5, 1, 32)
    assert shapes["conv_2"]["kernel"].shape == (3, 3, 3, 64, 96)
    assert shapes["forward_0"]["input_kernel_0"].shape == (3 * 4 * 96, 3 * 256)
    assert shapes["words"]["kernel"].shape == (512, 52)
