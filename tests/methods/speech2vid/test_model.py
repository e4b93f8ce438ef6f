"""The networks against outputs of PyTorch ones of the same weights: the released sizes."""

import jax
import numpy as np
import pytest

from lipsync_jax.methods.speech2vid.model import Deblurrer, Generator, LipClipGenerator, enlarge
from tests.golden.glance import parity, recipe
from tests.helpers import networks
from tests.helpers.networks import count, drawn, shapes

FACE, SOUND = (112, 112, 3), (35, 12)
slow = pytest.mark.slow
NAMES = [
    *(f"audio_{i}" for i in (0, 1, 3, 4, 5)),
    *("audio_dense_0", "audio_dense_1"),
    *(f"still_{i}" for i in (0, 2, 4, 5, 6)),
    *("still_dense_0", "still_dense_1"),
    *(f"decoder_{i}" for i in range(10)),
    "output",
]


@slow
@pytest.mark.parametrize("stills", [1, 5])
def test_draws_what_the_released_network_draws(stills):
    network = f"speech2vid_{stills}"
    mfcc, faces = recipe.inputs(network)
    golden, inputs = recipe.expected(network), [mfcc[..., 0].swapaxes(1, 2), faces]
    for run in parity.run(network, Generator(), NAMES, inputs, "logits", double_train=True):
        mode, found, stats, rounding = run
        recipe.check(golden, f"{mode}/audio_code", found.sound, rounding.sound)
        recipe.check(golden, f"{mode}/identity_code", found.identity, rounding.identity)
        recipe.check(golden, f"{mode}/logit", found.frames, rounding.frames)
        frames = 1 / (1 + np.exp(-np.asarray(found.frames)))  # a slope of 1/4 at most
        recipe.check(golden, f"{mode}/frame", frames, rounding.frames / 4)
        if mode == "train":
            recipe.check_statistics(golden, network, NAMES, stats)


@slow
def test_sharpens_as_the_released_network():
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
    *("audio_dense", "still_0", "still_1", "still_2"),
    *(f"still_deep_{i}" for i in range(3)),
    *("still_dense_0", "still_dense_1", "fusion"),
    *(f"up_{i}_{j}" for i, n in enumerate((2, 3, 2)) for j in range(n)),
    "output",
]


@slow
@pytest.mark.parametrize("fixed", [None, {"fusion": "tap:image_fc"}], ids=["whole", "decoder"])
def test_draws_what_the_published_baseline_draws(fixed):
    """The whole network, in training in float64; the decoder of a golden code, in float32."""
    network = "glance_chung_gen"
    still, audio = recipe.inputs(network)
    golden, inputs = recipe.expected(network), [still, audio[..., 0]]
    whole = {"double_train": fixed is None, "fixed": fixed}
    for run in parity.run(network, LipClipGenerator(), BASELINE_NAMES, inputs, "logits", **whole):
        mode, found, stats, rounding = run
        recipe.check(golden, f"{mode}/tap:image_decoder3.2.0", found, rounding)
        recipe.check(golden, f"{mode}/video", np.tanh(found), rounding)
        if mode == "train" and fixed is None:
            recipe.check_statistics(golden, network, BASELINE_NAMES, stats)


@pytest.mark.parametrize(("stills", "parameters"), [(1, 27_989_827), (5, 28_046_275)])
def test_sizes_of_the_generator(stills, parameters):
    found, made = shapes(Generator(), SOUND, (112, 112, 3 * stills))
    assert found.frames.shape == (2, 109, 109, 3)
    assert found.sound.shape == found.identity.shape == (2, 256)
    assert count(made["params"]) == parameters


def test_sizes_of_the_others():
    residual, made = shapes(Deblurrer(), (109, 109, 3))
    assert residual.shape == (2, 109, 109, 3) and count(made["params"]) == 298_947
    frames, made = shapes(LipClipGenerator(), (64, 64, 3), (64, 128))
    assert frames.shape == (2, 16, 64, 64, 3)
    unused = 299_136  # of two layers that the published code holds and never runs
    assert count(made["params"]) == 38_778_992 - unused


def test_enlarges_with_corners_on_corners():
    x = drawn(2, 3, 4, 5)
    y = np.asarray(jax.jit(enlarge)(x))
    assert y.shape == (2, 6, 8, 5)
    for column in range(8):
        at = np.interp(column * 3 / 7, np.arange(4), x[1, 2, :, 0])
        np.testing.assert_allclose(y[1, 5, column, 0], at, atol=1e-6)
    np.testing.assert_allclose(y[:, ::5, ::7], x[:, ::2, ::3], atol=1e-6)
    single = drawn(2, 1, 1, 3)
    np.testing.assert_array_equal(jax.jit(enlarge)(single), np.tile(single, (1, 2, 2, 1)))


def test_a_narrow_generator_follows_sound_and_stills():
    module = Generator(width=1 / 32)
    variables = networks.variables(module, SOUND, FACE)
    inputs = [drawn(2, *SOUND), drawn(2, *FACE)]
    apply = jax.jit(lambda *x: module.apply(variables, *x).frames)
    frames = apply(*inputs)
    assert 0 <= frames.min() and frames.max() <= 1
    for i in range(2):
        changed = [x.copy() for x in inputs]
        changed[i][1] = drawn(*changed[i].shape[1:], seed=1)
        other = apply(*changed)
        np.testing.assert_allclose(other[0], frames[0], atol=1e-5)
        assert np.abs(other[1] - frames[1]).max() > 1e-4


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"audio has shape \(2, 12, 35\); Generator takes"):
        shapes(Generator(), (12, 35), FACE)
    with pytest.raises(ValueError, match=r"stills has shape .*; Generator takes \(2, 112, 112"):
        shapes(Generator(), SOUND, (96, 96, 3))
