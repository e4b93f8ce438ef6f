"""3x3 convolutions by tiles, beside XLA's own."""

import jax
import numpy as np
import pytest
from jax import lax

from lipsync_jax.nn.cpu import conv, winograd
from lipsync_jax.nn.cpu.jit import jit

AXES = ("NHWC", "HWIO", "NHWC")
PADS = ((1, 1), (1, 1))


def arrays(*shapes, scale=1.0):
    rng = np.random.default_rng(0)
    return [(scale * rng.normal(size=shape)).astype(np.float32) for shape in shapes]


def plain(x, kernel, pads):
    return lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=AXES)


@pytest.mark.parametrize("size", [(6, 8), (7, 6), (5, 9), (4, 4), (3, 2)])
@pytest.mark.parametrize("pads", [PADS, ((0, 2), (1, 0)), ((2, 2), (2, 1))])
def test_any_size_and_padding(size, pads):
    x, kernel = arrays((2, *size, 5), (3, 3, 5, 4))
    expected = jit(lambda x, k: plain(x, k, pads))(x, kernel)
    found = jit(lambda x, k: winograd.convolve3x3(x, k, pads))(x, kernel)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("x", "kernel", "strides", "pads", "suited"),
    [
        ((8, 32, 32, 128), (3, 3, 128, 128), (1, 1), PADS, True),
        ((8, 32, 32, 128), (3, 3, 128, 128), (2, 2), PADS, False),
        ((8, 32, 32, 128), (1, 3, 128, 128), (1, 1), PADS, False),
        ((8, 32, 32, 64), (3, 3, 64, 128), (1, 1), PADS, False),
        ((8, 32, 32, 128), (3, 3, 128, 64), (1, 1), PADS, False),
        ((1, 8, 8, 128), (3, 3, 128, 128), (1, 1), PADS, False),
        ((8, 32, 32, 128), (3, 3, 128, 128), (1, 1), ((-1, 1), (1, 1)), False),
        ((8, 32, 128), (3, 128, 128), (1,), PADS[:1], False),
        ((8, 32, 32, 8, 128), (3, 3, 3, 128, 128), (1, 1, 1), PADS + PADS[:1], False),
    ],
)
def test_where_winograd_is_used(x, kernel, strides, pads, suited):
    x, kernel = (jax.ShapeDtypeStruct(shape, np.float32) for shape in (x, kernel))
    assert winograd.is_profitable(x, kernel, strides, pads) == suited
    assert not winograd.is_gradient_profitable(x, kernel, strides, pads)  # 128 channels
    assert not winograd.is_profitable(
        jax.ShapeDtypeStruct(x.shape, "bfloat16"), kernel, strides, pads
    )


@pytest.mark.parametrize("size", [(48, 128), (24, 256)])
def test_large_images_use_winograd_one_by_one_in_inference_alone(size):
    side, channels = size
    x = jax.ShapeDtypeStruct((1, side, side, channels), np.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, channels, channels), np.float32)

    def products(function):  # over tiles; those of the transforms have no batch
        return jit(function).lower(x, kernel).as_text().count("batching_dims")

    def convolve(x, kernel):
        return conv.convolve(x, kernel, (1, 1), PADS)

    assert products(convolve) == 1
    assert products(jax.grad(lambda x, k: convolve(x, k).sum(), (0, 1))) == 0


def test_a_train_step_has_few_operations():
    shape = jax.ShapeDtypeStruct((8, 32, 32, 256), np.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 256, 256), np.float32)
    grad = jax.value_and_grad(lambda x, k: conv.convolve(x, k, (1, 1), PADS).sum(), (0, 1))
    text = jit(grad).lower(shape, kernel).as_text()
    assert text.count("batching_dims") == 3  # forward, and one gradient each


@pytest.mark.parametrize("size", [(16, 16), (7, 10)])
def test_wide_networks_have_the_same_outputs_and_gradients(monkeypatch, size):
    monkeypatch.setattr(winograd, "_MIN_PRODUCTS", 0)
    x, kernel, weight = arrays((2, *size, 128), (3, 3, 128, 128), (2, *size, 128))
    kernel /= np.sqrt(9 * 128)

    def outputs(convolve):
        def loss(x, kernel):
            y = convolve(x, kernel)
            return (y * weight).sum(), y

        return jit(jax.grad(loss, (0, 1), has_aux=True))(x, kernel)

    monkeypatch.setattr(winograd, "_MIN_GRADIENT_CHANNELS", 0)
    assert winograd.is_gradient_profitable(x, kernel, (1, 1), PADS)
    found = outputs(lambda x, k: conv.convolve(x, k, (1, 1), PADS))
    expected = outputs(lambda x, k: plain(x, k, PADS))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())
