"""The switch between kernels for CPUs and XLA's own operations."""

from pathlib import Path

import jax
import numpy as np
import pytest
from jax import export

import lipsync_jax
from lipsync_jax.nn.blocks import ConvNormAct
from lipsync_jax.nn.cpu import local_size, plain_programs, programs_for, use_cpu_kernels
from lipsync_jax.nn.cpu.jit import cpu_compiler_options, jit
from tests.helpers.networks import random_array, random_variables

# (kernel, further fields, input)
LAYERS = [
    ((3, 3), {"strides": 2, "padding": 1}, (9, 8, 3)),
    ((4, 4), {"strides": 2, "padding": 1, "transposed": True}, (8, 8, 3)),
    ((3, 3), {"strides": 2, "padding": "SAME", "transposed": True}, (2, 3, 3)),
    ((3, 5), {"strides": (2, 1), "output_padding": (1, 0), "transposed": True}, (1, 1, 3)),
    ((3, 3, 3), {"strides": (1, 2, 2), "padding": 1}, (4, 6, 6, 3)),
    ((4, 4, 4), {"strides": 2, "padding": 1, "transposed": True}, (3, 4, 4, 3)),
]


def gradients(block, variables, x):
    def loss(params, x):
        y, stats = block.apply({**variables, "params": params}, x, True, mutable=["batch_stats"])
        return (y**2).sum(), (y, stats)

    return jax.grad(loss, (0, 1), has_aux=True)(variables["params"], x)


@pytest.mark.parametrize(("kernel", "fields", "shape"), LAYERS)
def test_plain_programs_compute_the_same(kernel, fields, shape):
    block, x = ConvNormAct(18, kernel, **fields), random_array(2, *shape)
    variables = random_variables(block, shape, train=False)
    program = jit(lambda variables, x: gradients(block, variables, x))
    expected = program(variables, x)
    with plain_programs():
        text = str(jax.make_jaxpr(lambda x: gradients(block, variables, x))(x))
        found = program(variables, x)
    assert "conv_general_dilated" in text
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * np.abs(other).max())


def test_programs_are_traced_anew_where_the_switch_changes():
    seen = []

    @jax.jit
    def f(x):
        seen.append(use_cpu_kernels())
        return x

    f(1.0)
    with plain_programs():
        f(1.0)
        assert cpu_compiler_options() == {}
    f(1.0)
    assert seen == [True, False] and use_cpu_kernels()


def test_the_switch_returns_after_an_error():
    with pytest.raises(ZeroDivisionError), plain_programs():
        raise ZeroDivisionError
    assert use_cpu_kernels()


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_plain_programs_are_lowered_for_machines_that_are_not_here(platform):
    block, shape = ConvNormAct(18, (4, 4), 2, 1, transposed=True), (8, 8, 3)
    variables = random_variables(block, shape, train=False)
    with plain_programs():
        program = jax.jit(lambda x: gradients(block, variables, x))
        exported = export.export(program, platforms=[platform])(random_array(2, *shape))
    assert "stablehlo.convolution" in exported.mlir_module()


def test_programs_for_other_devices_know_their_platform_and_number():
    with programs_for("tpu", 4):
        assert not use_cpu_kernels() and cpu_compiler_options() == {}
        assert [local_size(n) for n in (16, 5, 1)] == [4, 2, 1]
        with programs_for("cpu", 1):
            assert use_cpu_kernels() and local_size(5) == 5
        with plain_programs():
            assert not use_cpu_kernels() and local_size(16) == 4
    assert use_cpu_kernels() and local_size(16) == 16


def test_the_program_of_a_device_depends_on_its_own_share_of_the_batch():
    block = ConvNormAct(128, (3, 3), 1, 1)

    def program(n, devices):
        x = random_array(n, 16, 16, 128)
        variables = random_variables(block, x.shape[1:], train=False)
        with programs_for("cpu", devices):
            text = str(jax.make_jaxpr(lambda x: gradients(block, variables, x))(x))
        return text.count("dot_general"), text.count("conv_general_dilated")

    assert program(32, 1) != program(4, 1)  # many examples are worth other kernels
    assert program(32, 8) == program(4, 1)


def test_networks_ask_for_the_platform_at_one_place():
    folder = Path(lipsync_jax.__file__).parent / "nn"
    asking = [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*.py"))
        if any(word in path.read_text() for word in ("default_backend", "platform_dependent"))
    ]
    assert asking == [str(Path("cpu") / "__init__.py")]
