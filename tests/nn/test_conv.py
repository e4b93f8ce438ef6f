import contextlib
import functools
import itertools
import math
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from lipsync_jax.nn.batch_norm import BatchNorm
from lipsync_jax.nn.blocks import ConvNormAct
from lipsync_jax.nn.conv import (
    ConvBlock,
    ConvTranspose,
    conv,
    conv_transpose,
    convolve,
    stack_frames,
)
from lipsync_jax.nn.cpu import plain_programs
from lipsync_jax.nn.cpu.conv_transpose import MIN_PHASE_FEATURES
from lipsync_jax.nn.dcgan import DCGANBlock
from tests.helpers.networks import random_variables

# (kernel, strides, padding, output padding); the first two are Wav2Lip's.
SHAPES = [
    ((3, 3), (2, 2), (1, 1), (1, 1)),
    ((3, 3), (1, 1), (0, 0), (0, 0)),
    ((4, 4), (2, 2), (1, 1), (0, 0)),
    ((5, 5), (2, 2), (2, 2), (1, 1)),
    ((3, 5), (1, 3), (1, 2), (0, 2)),
]


def random_array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def scattered(x, kernel, strides, padding, output_padding):
    """The definition: every input pixel adds its copy of the kernel to the output."""
    n, height, width, _ = x.shape
    rows, columns, outputs, _ = kernel.shape
    bottom = (height - 1) * strides[0] + rows + output_padding[0]
    right = (width - 1) * strides[1] + columns + output_padding[1]
    full = np.zeros((n, bottom, right, outputs))
    for i, j in itertools.product(range(height), range(width)):
        top, left = i * strides[0], j * strides[1]
        copy = np.einsum("nc,hwoc->nhwo", x[:, i, j].astype(float), kernel)
        full[:, top : top + rows, left : left + columns] += copy
    return full[:, padding[0] : bottom - padding[0], padding[1] : right - padding[1]]


def derived(x, kernel, strides, padding, output_padding):
    """JAX's own transposed convolution, whose derivative JAX works out."""
    pads = [
        (k - 1 - p, k - 1 - p + extra)
        for k, p, extra in zip(kernel.shape[:2], padding, output_padding, strict=True)
    ]
    return lax.conv_transpose(x, kernel, strides, pads, transpose_kernel=True)


# Pictures of many positions, of few, and of a single one take ways of their own.
@pytest.mark.parametrize("image", [(2, 8, 9), (1, 2, 3), (2, 1, 1)])
@pytest.mark.parametrize("shape", SHAPES)
def test_transposed_convolution_by_definition(shape, image):
    size, *options = shape
    x, kernel = random_array(*image, 5), random_array(*size, 6, 5, seed=1)
    np.testing.assert_allclose(
        conv_transpose(x, kernel, *options), scattered(x, kernel, *options), atol=1e-5
    )


@pytest.mark.parametrize("shape", [*SHAPES, ((2, 3), (3, 2), (0, 0), (0, 1))])
def test_wide_transposed_convolutions_by_definition(shape):
    size, *options = shape
    x, kernel = random_array(2, 8, 9, 5), random_array(*size, MIN_PHASE_FEATURES, 5, seed=1)
    np.testing.assert_allclose(
        conv_transpose(x, kernel, *options), scattered(x, kernel, *options), atol=1e-5
    )


def test_an_image_smaller_than_the_kernel_is_reversed_instead():
    x, kernel, options = (
        random_array(1, 7, 8, 2),
        random_array(5, 5, 6, 2, seed=1),
        ((1, 1), (2, 1), (0, 0)),
    )
    np.testing.assert_allclose(
        conv_transpose(x, kernel, *options), scattered(x, kernel, *options), atol=1e-5
    )


@pytest.mark.parametrize("platform", [contextlib.nullcontext, plain_programs])
@pytest.mark.parametrize("shape", SHAPES)
def test_transposed_convolutions_gradients(shape, platform):
    size, *options = shape
    x, kernel = random_array(2, 3, 4, 5), random_array(*size, 6, 5, seed=1)
    with platform():
        out, pull = jax.vjp(lambda *both: conv_transpose(*both, *options), x, kernel)
    expected, pull_derived = jax.vjp(lambda *both: derived(*both, *options), x, kernel)
    weights = random_array(*out.shape, seed=2)
    np.testing.assert_allclose(out, expected, atol=1e-5)
    for ours, reference in zip(pull(weights), pull_derived(weights), strict=True):
        np.testing.assert_allclose(ours, reference, atol=3e-5)


def test_transposed_convolution_has_a_second_derivative():
    with jax.enable_x64(True):
        x, kernel = (
            random_array(1, 2, 3, 2).astype(float),
            random_array(3, 3, 2, 2, seed=1).astype(float),
        )
        check_grads(
            lambda *both: conv_transpose(*both, (2, 2), (1, 1), (1, 1)) ** 2,
            (x, kernel),
            order=2,
            modes=["rev"],
        )


def test_training_avoids_the_convolutions_that_are_slow_on_cpu():
    """Derived by JAX, the kernel's gradient would be a dilated convolution of the input too."""
    x, kernel = random_array(1, 8, 8, 2), random_array(3, 3, 2, 2)

    def loss(function):
        return jax.grad(lambda *both: function(*both, (2, 2), (1, 1), (1, 1)).sum(), (0, 1))

    def dilated(function):
        equations = jax.make_jaxpr(loss(function))(x, kernel).eqns
        inner = [
            equation
            for outer in equations
            for value in outer.params.values()
            if hasattr(value, "eqns")
            for equation in value.eqns
        ]
        return sum(
            equation.primitive.name == "conv_general_dilated"
            and equation.params["lhs_dilation"] != (1, 1)
            for equation in [*equations, *inner]
        )

    assert dilated(derived) == 2
    assert dilated(conv_transpose) == 0
    with plain_programs():  # the forward pass alone
        assert dilated(conv_transpose) == 1


@pytest.mark.parametrize(
    ("size", "strides", "pads"),
    [
        ((3,), (2,), ((1, 1),)),
        ((3, 3), (1, 1), ((1, 1), (1, 1))),
        ((3, 3), (2, 2), ((1, 1), (1, 1))),
        ((7, 5), (1, 2), ((3, 3), (2, 2))),
        ((5, 5), (3, 2), ((0, 0), (0, 1))),
        ((1, 1), (2, 2), ((0, 0), (0, 0))),
        ((3, 3, 3), (1, 2, 2), ((1, 1), (1, 1), (0, 2))),
    ],
)
def test_convolutions_gradients(size, strides, pads):
    axes = "DHW"[-len(size) :]
    x, kernel = random_array(2, *(9, 8, 7)[: len(size)], 3), random_array(*size, 3, 4, seed=1)

    def reference(x, kernel, strides, pads):
        names = f"N{axes}C", f"{axes}IO", f"N{axes}C"
        return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=names)

    weights = random_array(*reference(x, kernel, strides, pads).shape, seed=2)

    def gradients(function):
        def weighted(*both):
            return (function(*both, strides, pads) * weights).sum()

        return jax.jit(jax.grad(weighted, (0, 1)))(x, kernel)

    for ours, derived in zip(gradients(convolve), gradients(reference), strict=True):
        np.testing.assert_allclose(ours, derived, atol=3e-4)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, kernel: convolve(x, kernel, (2, 2), ((1, 1), (1, 1))),
        lambda x, kernel: conv_transpose(x, kernel, (2, 2), (1, 1), (1, 1)),
    ],
)
def test_convolutions_in_a_branch_keep_the_axes_that_are_quick_on_cpu(function):
    """Derived by JAX, gradients would have axes that XLA doesn't put in order there."""
    x, kernel = random_array(2, 9, 9, 3), random_array(3, 3, 3, 3)

    def loss(x, kernel, wanted):
        return lax.cond(
            wanted, lambda *both: (function(*both) ** 2).sum(), lambda *_: 0.0, x, kernel
        )

    text = jax.jit(jax.grad(loss, (0, 1))).lower(x, kernel, True).compile().as_text()
    axes = re.findall(r" convolution\(.*dim_labels=(\w+->\w+)", text)
    assert len(axes) >= 3 and set(axes) == {"b01f_01io->b01f"}


def test_sizes_and_initialisation_of_transposed_convolution():
    module = ConvTranspose(6, (3, 5), (2, 1), (1, 2), (1, 0))
    out, variables = module.init_with_output(jax.random.key(0), random_array(1, 7, 8, 4))
    assert out.shape == (1, 14, 8, 6)
    params = variables["params"]
    assert params["kernel"].shape == (3, 5, 6, 4)
    bound = 1 / math.sqrt(3 * 5 * 6)  # PyTorch counts the outputs of a transposed convolution
    assert 0.9 * bound < jnp.abs(params["kernel"]).max() <= bound
    assert jnp.abs(params["bias"]).max() <= bound


def test_initialisation_of_convolution():
    params = conv(64, 3, 1, 1, 8).init(jax.random.key(0), random_array(1, 4, 4, 8))["params"]
    bound = 1 / math.sqrt(3 * 3 * 8)
    for leaf in jax.tree.leaves(params):
        assert 0.9 * bound < jnp.abs(leaf).max() <= bound


@pytest.mark.parametrize(
    ("block", "path"),
    [
        (ConvBlock(4), ("conv", "bias")),
        (ConvBlock(4, transposed=True), ("conv", "bias")),
        (ConvNormAct(4, (3, 3), bias=True), ("bias",)),
        (DCGANBlock(4, (3, 3), bias=True), ("bias",)),
    ],
)
def test_a_bias_before_batch_norm_has_a_gradient_in_eval_mode_only(block, path):
    x = random_array(2, 5, 6, 3)
    variables = random_variables(block, (5, 6, 3), train=False)

    def loss(params, train):
        y, _ = block.apply({**variables, "params": params}, x, train, mutable=["batch_stats"])
        return (y**2).sum()

    trained, evaluated = jax.jit(
        lambda params: [jax.grad(loss)(params, train) for train in (True, False)]
    )(variables["params"])
    of_bias = [functools.reduce(dict.__getitem__, path, grads) for grads in (trained, evaluated)]
    assert not of_bias[0].any() and of_bias[1].all()
    assert all(leaf.any() for leaf in jax.tree.leaves(trained) if leaf is not of_bias[0])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("train", [False, True])
def test_batch_norm_is_flaxs(train, masked):
    ours = BatchNorm()
    flaxs = nn.BatchNorm(not train, momentum=0.9, epsilon=1e-5, use_fast_variance=False)
    variables = {
        "params": {"scale": random_array(4), "bias": random_array(4, seed=1)},
        "batch_stats": {"mean": random_array(4, seed=2), "var": random_array(4, seed=3) ** 2},
    }
    x, weights = 3 * random_array(3, 5, 6, 4) + 7, random_array(3, 5, 6, 4, seed=4)
    mask = np.array([True, False, True]) if masked else None
    flaxs_mask = None if mask is None else mask[:, None, None, None]

    def run(apply):
        def loss(params, x):
            y, new = apply({**variables, "params": params}, x)
            return (weights * y).sum(), (y, new)

        return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(variables["params"], x)

    one = run(lambda v, x: ours.apply(v, x, train, mask, mutable=["batch_stats"]))
    other = run(lambda v, x: flaxs.apply(v, x, mask=flaxs_mask, mutable=["batch_stats"]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5), one, other)
    names = [
        jax.tree.structure(m.init(jax.random.key(0), x, *a))
        for m, a in ((ours, [False]), (flaxs, []))
    ]
    assert names[0] == names[1]


def normalised(y, params):
    mean, var = y.mean(axis=(0, 1, 2)), y.var(axis=(0, 1, 2))
    return (y - mean) / np.sqrt(var + 1e-5) * params["scale"] + params["bias"], mean, var


@pytest.mark.parametrize("residual", [False, True])
def test_block_adds_its_input_after_the_normalisation(residual):
    x = random_array(2, 5, 6, 4)
    block = ConvBlock(4, residual=residual)
    variables = block.init(jax.random.key(0), x, train=False)
    params = jax.tree.map(lambda leaf: leaf + random_array(*leaf.shape), variables["params"])
    out, new = block.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
    y = conv(4, 3, 1, 1, 4).apply({"params": params["conv"]}, x)
    y, mean, var = normalised(np.asarray(y), params["norm"])
    np.testing.assert_allclose(out, np.maximum(y + residual * x, 0), atol=1e-4)
    stats = new["batch_stats"]["norm"]
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * var, rtol=1e-4)


def test_block_without_activation():
    x = random_array(2, 5, 6, 4)
    block = ConvBlock(3, activation=None)
    out, variables = block.init_with_output(jax.random.key(0), x, train=False)
    assert out.min() < 0
    rectified = ConvBlock(3).apply(variables, x, train=False)
    np.testing.assert_array_equal(rectified, jnp.maximum(out, 0))


def test_transposed_block_is_normalised_and_rectified():
    x = random_array(2, 5, 6, 4)
    block = ConvBlock(3, strides=2, transposed=True, output_padding=1)
    variables = block.init(jax.random.key(0), x, train=False)
    out, _ = block.apply(variables, x, train=True, mutable=["batch_stats"])
    params = variables["params"]
    y = ConvTranspose(3, 3, 2, 1, 1).apply({"params": params["conv"]}, x)
    y, *_ = normalised(np.asarray(y), params["norm"])
    assert out.shape == (2, 10, 12, 3)
    np.testing.assert_allclose(out, np.maximum(y, 0), atol=1e-4)


def test_block_without_normalisation():
    x = random_array(2, 5, 6, 4)
    block = ConvBlock(3, norm=False, activation=nn.leaky_relu)
    out, variables = block.init_with_output(jax.random.key(0), x)
    y = conv(3, 3, 1, 1, 4).apply({"params": variables["params"]["conv"]}, x)
    np.testing.assert_allclose(out, np.where(y > 0, y, 0.01 * y), atol=1e-6)


@pytest.mark.parametrize(
    "block", [ConvBlock(4, dtype="bfloat16"), ConvBlock(4, transposed=True, dtype="bfloat16")]
)
def test_reduced_precision_keeps_parameters_and_statistics(block):
    x = random_array(2, 4, 4, 4)
    variables = block.init(jax.random.key(0), x, train=False)
    out, new = block.apply(variables, x, train=True, mutable=["batch_stats"])
    assert out.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, new))} == {jnp.dtype("float32")}


def test_frames_stack_as_channels():
    frames = np.arange(2.0 * 5 * 3 * 4 * 3).reshape(2, 5, 3, 4, 3)
    folded = stack_frames(frames)
    assert folded.shape == (2, 3, 4, 15)
    np.testing.assert_array_equal(folded[..., 3 * 2 + 1], frames[:, 2, ..., 1])
