"""The networks against outputs of PyTorch ones of the same weights: the released sizes."""

import jax
import numpy as np
import pytest

from lipsync_jax.methods.speech2vid.model import Deblurrer, Generator, LipClipGenerator, upsample_2x
from tests.golden.glance import parity, recipe
from tests.helpers import networks
from tests.helpers.networks import abstract_variables, count_parameters, random_array

FACE, AUDIO = (112, 112, 3), (35, 12)
slow = pytest.mark.slow
NAMES = [
    *(f"audio_{i}" for i in (0, 1, 3, 4, 5)),
    *("audio_dense_0", "audio_dense_1"),
    *(f"image_{i}" for i in (0, 2, 4, 5, 6)),
    *("image_dense_0", "image_dense_1"),
    *(f"decoder_{i}" for i in range(10)),
    "output",
]


@slow
@pytest.mark.parametrize("references", [1, 5])
def test_generator_equals_the_released_network(references):
    network = f"speech2vid_{references}"
    mfcc, faces = recipe.inputs(network)
    golden, inputs = recipe.expected(network), [mfcc[..., 0].swapaxes(1, 2), faces]
    for run in parity.run(network, Generator(), NAMES, inputs, "logits", double_train=True):
        mode, found, stats, rounding = run
        recipe.check(golden, f"{mode}/audio_code", found.audio_code, rounding.audio_code)
        recipe.check(golden, f"{mode}/identity_code", found.identity_code, rounding.identity_code)
        recipe.check(golden, f"{mode}/logit", found.frames, rounding.frames)
        frames = 1 / (1 + np.exp(-np.asarray(found.frames)))  # a slope of 1/4 at most
        recipe.check(golden, f"{mode}/frame", frames, rounding.frames / 4)
        if mode == "train":
            recipe.check_statistics(golden, network, NAMES, stats)


@slow
def test_deblurrer_equals_the_released_network():
    (frames,) = recipe.inputs("speech2vid_deblur")
    names = [*(f"conv_{i}" for i in range(9)), "output"]
    variables = recipe.variables("speech2vid_deblur", Deblurrer(), names, [frames.shape])
    with jax.default_matmul_precision("highest"):
        residual = jax.jit(Deblurrer().apply)(variables, frames)
    golden = recipe.expected("speech2vid_deblur")
    recipe.check(golden, "eval/residual", residual)
    recipe.check(golden, "eval/sharp", frames + residual)


BASELINE_NAMES = [
    *(None, None),
    *(f"audio_{i}" for i in range(4)),
    *("audio_dense", "image_0", "image_1", "image_2"),
    *(f"image_deep_{i}" for i in range(3)),
    *("image_dense_0", "image_dense_1", "fusion"),
    *(f"up_{i}_{j}" for i, n in enumerate((2, 3, 2)) for j in range(n)),
    "output",
]


@slow
@pytest.mark.parametrize("fixed", [None, {"fusion": "tap:image_fc"}], ids=["whole", "decoder"])
def test_baseline_equals_the_published_network(fixed):
    """Checks the network, in float64 in training, and the decoder of a golden code in float32."""
    network = "glance_chung_gen"
    reference, audio = recipe.inputs(network)
    golden, inputs = recipe.expected(network), [reference, audio[..., 0]]
    whole = {"double_train": fixed is None, "fixed": fixed}
    for run in parity.run(network, LipClipGenerator(), BASELINE_NAMES, inputs, "logits", **whole):
        mode, found, stats, rounding = run
        recipe.check(golden, f"{mode}/tap:image_decoder3.2.0", found, rounding)
        recipe.check(golden, f"{mode}/video", np.tanh(found), rounding)
        if mode == "train" and fixed is None:
            recipe.check_statistics(golden, network, BASELINE_NAMES, stats)


@pytest.mark.parametrize(("references", "parameters"), [(1, 27_989_827), (5, 28_046_275)])
def test_sizes_of_the_generator(references, parameters):
    found, made = abstract_variables(Generator(), AUDIO, (112, 112, 3 * references))
    assert found.frames.shape == (2, 109, 109, 3)
    assert found.audio_code.shape == found.identity_code.shape == (2, 256)
    assert count_parameters(made["params"]) == parameters


def test_sizes_of_the_others():
    residual, made = abstract_variables(Deblurrer(), (109, 109, 3))
    assert residual.shape == (2, 109, 109, 3) and count_parameters(made["params"]) == 298_947
    frames, made = abstract_variables(LipClipGenerator(), (64, 64, 3), (64, 128))
    assert frames.shape == (2, 16, 64, 64, 3)
    unused = 299_136  # of two layers that the published code holds and never runs
    assert count_parameters(made["params"]) == 38_778_992 - unused


def test_upsampling_aligns_corners():
    x = random_array(2, 3, 4, 5)
    y = np.asarray(jax.jit(upsample_2x)(x))
    assert y.shape == (2, 6, 8, 5)
    for column in range(8):
        at = np.interp(column * 3 / 7, np.arange(4), x[1, 2, :, 0])
        np.testing.assert_allclose(y[1, 5, column, 0], at, atol=1e-6)
    np.testing.assert_allclose(y[:, ::5, ::7], x[:, ::2, ::3], atol=1e-6)
    single = random_array(2, 1, 1, 3)
    np.testing.assert_array_equal(jax.jit(upsample_2x)(single), np.tile(single, (1, 2, 2, 1)))


def test_a_narrow_generator_depends_on_audio_and_references():
    module = Generator(width_mult=1 / 32)
    variables = networks.random_variables(module, AUDIO, FACE)
    inputs = [random_array(2, *AUDIO), random_array(2, *FACE)]
    apply = jax.jit(lambda *x: module.apply(variables, *x).frames)
    frames = apply(*inputs)
    assert 0 <= frames.min() and frames.max() <= 1
    for i in range(2):
        changed = [x.copy() for x in inputs]
        changed[i][1] = random_array(*changed[i].shape[1:], seed=1)
        other = apply(*changed)
        np.testing.assert_allclose(other[0], frames[0], atol=1e-5)
        assert np.abs(other[1] - frames[1]).max() > 1e-4


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"audio has shape \(2, 12, 35\); Generator takes"):
        abstract_variables(Generator(), (12, 35), FACE)
    with pytest.raises(ValueError, match=r"references has shape .*; Generator takes \(2, 112, 112"):
        abstract_variables(Generator(), AUDIO, (96, 96, 3))
