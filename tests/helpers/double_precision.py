"""Networks in float64, where a difference to a golden array is a difference of the method."""

import contextlib
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax


def convolve(
    x,
    kernel,
    window_strides,
    padding,
    lhs_dilation=(1, 1),
    rhs_dilation=(1, 1),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
):
    """Computes a 2-D convolution as a sum over kernel positions, or output by output.

    XLA's CPU backend has fast convolutions for float32 only. The kernel gradient of a convolution
    is one with a kernel as large as the image and few outputs.
    """
    assert dimension_numbers == ("NHWC", "HWIO", "NHWC")
    edges = [(low, high, d - 1) for (low, high), d in zip(padding, lhs_dilation, strict=True)]
    x = lax.pad(x, np.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
    taps = kernel.shape[:2]
    reach = [(k - 1) * d + 1 for k, d in zip(taps, rhs_dilation, strict=True)]
    sizes = [
        (length - r) // s + 1
        for length, r, s in zip(x.shape[1:3], reach, window_strides, strict=True)
    ]

    def part(place, starts, counts, steps):
        at = [p * start for p, start in zip(place, starts, strict=True)]
        spans = [step * (n - 1) + 1 for n, step in zip(counts, steps, strict=True)]
        window = lax.dynamic_slice(x, (0, *at, 0), (len(x), *spans, x.shape[-1]))
        return window[:, :: steps[0], :: steps[1]]

    # Loops: programs that write out every tap take minutes to compile, and gigabytes to run.
    if math.prod(taps) <= math.prod(sizes):

        def add(total, tap):
            row, column, weights = tap
            return total + part((row, column), rhs_dilation, sizes, window_strides) @ weights, None

        rows, columns = np.indices(taps).reshape(2, -1)
        zeros = jnp.zeros((len(x), *sizes, kernel.shape[-1]), x.dtype)
        return lax.scan(add, zeros, (rows, columns, kernel.reshape(-1, *kernel.shape[2:])))[0]

    def output(place):
        return jnp.tensordot(part(place, window_strides, taps, rhs_dilation), kernel, 3)

    outputs = lax.map(output, tuple(np.indices(sizes).reshape(2, -1)))
    return jnp.moveaxis(outputs, 0, 1).reshape(len(x), *sizes, kernel.shape[-1])


@contextlib.contextmanager
def double_precision() -> Iterator[None]:
    """Enables float64, and convolutions that are fast in it, until the context ends."""
    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(lax, "conv_general_dilated", convolve)
        yield
