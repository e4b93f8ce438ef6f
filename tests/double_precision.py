"""Networks in float64, where a difference to a golden array is a difference of the method."""

import contextlib
import itertools
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

    def part(starts, counts, steps):
        rows, columns = (
            slice(at, at + step * (n - 1) + 1, step)
            for at, n, step in zip(starts, counts, steps, strict=True)
        )
        return x[:, rows, columns]

    if math.prod(taps) <= math.prod(sizes):
        total = 0
        for tap in np.ndindex(taps):
            starts = [at * d for at, d in zip(tap, rhs_dilation, strict=True)]
            total += part(starts, sizes, window_strides) @ kernel[tap]
        return total
    outputs = []
    for place in itertools.product(*map(range, sizes)):
        starts = [at * s for at, s in zip(place, window_strides, strict=True)]
        outputs.append(jnp.tensordot(part(starts, taps, rhs_dilation), kernel, 3))
    return jnp.stack(outputs, axis=1).reshape(len(x), *sizes, kernel.shape[-1])


@contextlib.contextmanager
def double_precision() -> Iterator[None]:
    """Enables float64, and convolutions that are fast in it, until the context ends."""
    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(lax, "conv_general_dilated", convolve)
        yield
