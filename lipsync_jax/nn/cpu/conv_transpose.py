"""Transposed convolutions as plain convolutions and matrix products, with a custom derivative.

XLA's CPU backend multiplies by the zeros of a dilated image too.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lipsync_jax.nn.cpu import local_size
from lipsync_jax.nn.cpu.conv import convolve, kernel_gradient

DIMENSION_NUMBERS = ("NHWC", "HWIO", "NHWC")
# Output channels from which one convolution per phase is faster.
MIN_PHASE_FEATURES = 16
# Pixels of an image up to which the matrix product is faster.
MAX_MATMUL_POSITIONS = 48


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def conv_transpose(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, int],
    padding: tuple[int, int],
    output_padding: tuple[int, int] = (0, 0),
) -> jax.Array:
    """Computes what `nn.conv.conv_transpose` computes.

    The derivative is custom: XLA's CPU backend runs the kernel gradient of a dilated convolution
    some fifty times slower than that of the strided convolution.
    """
    size, single = kernel.shape[:2], x.shape[1:3] == (1, 1)
    if single and padding == output_padding == (0, 0):
        # The kernel comes first, so that XLA need not transpose it.
        y = jnp.einsum("hwoc,nc->hwon", kernel, x[:, 0, 0])
        return y.transpose(3, 0, 1, 2)
    if max(strides) > 1 and local_size(x.size) > kernel.size:
        return _depth_to_space(x, kernel, strides, padding, output_padding)
    pads = [
        (k - 1 - p, k - 1 - p + extra)
        for k, p, extra in zip(size, padding, output_padding, strict=True)
    ]
    if math.prod(x.shape[1:3]) <= MAX_MATMUL_POSITIONS:
        return _sum_of_taps(x, kernel, strides, pads)
    kernel = kernel.swapaxes(2, 3)
    dilated = functools.partial(
        lax.conv_general_dilated,
        window_strides=(1, 1),
        lhs_dilation=strides,
        dimension_numbers=DIMENSION_NUMBERS,
    )
    if local_size(x.size) * math.prod(strides) < kernel.size:
        # Reversing small images is less work than reversing the kernel.
        y = dilated(lax.rev(x, (1, 2)), kernel, padding=[pad[::-1] for pad in pads])
        return lax.rev(y, (1, 2))
    return dilated(x, lax.rev(kernel, (0, 1)), padding=pads)


def _depth_to_space(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, int],
    padding: tuple[int, int],
    output_padding: tuple[int, int],
) -> jax.Array:
    """Computes a transposed convolution as one whose channels are the output pixels of each pixel.

    The channels are laid out in space afterwards (Shi et al. 2016). A dilated image is mostly
    zeros, and XLA's CPU backend multiplies by these zeros too.
    """
    (*size, features, _), (n, *space, _) = kernel.shape, x.shape
    pairs = [*zip(size, strides, strict=True)]
    ragged = any(k % stride for k, stride in pairs) and all(k >= stride for k, stride in pairs)
    if ragged and features >= MIN_PHASE_FEATURES:
        y = _phase_by_phase(x, kernel, strides)
    else:
        y = _all_phases(x, kernel, strides)
    height, _, width = y.shape[1:4]
    y = y.reshape(n, height * strides[0], width * strides[1], features)
    target_sizes = [
        (length - 1) * stride - p + k + extra
        for length, stride, p, k, extra in zip(
            space, strides, padding, size, output_padding, strict=True
        )
    ]
    edge_pads = [
        (-p, end - had, 0) for p, end, had in zip(padding, target_sizes, y.shape[1:3], strict=True)
    ]
    return lax.pad(y, jnp.zeros((), y.dtype), [(0, 0, 0), *edge_pads, (0, 0, 0)])


def _all_phases(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """Computes (n, height, stride, width, stride, features) by one zero-padded convolution."""
    *size, features, channels = kernel.shape
    taps = [-(-k // stride) for k, stride in zip(size, strides, strict=True)]
    kernel_pads = [(0, t * s - k) for t, s, k in zip(taps, strides, size, strict=True)]
    kernel = jnp.pad(kernel, [*kernel_pads, (0, 0), (0, 0)])
    kernel = kernel.reshape(taps[0], strides[0], taps[1], strides[1], features, channels)
    kernel = kernel[::-1, :, ::-1].transpose(0, 2, 5, 1, 3, 4).reshape(*taps, channels, -1)
    pads = [(t - 1, t - 1) for t in taps]
    y = lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=DIMENSION_NUMBERS)
    return y.reshape(*y.shape[:3], *strides, features).transpose(0, 1, 3, 2, 4, 5)


def _phase_by_phase(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """Computes `_all_phases` with the taps of each phase alone: 9 products, not 16, for 3x3."""
    taps = [-(-k // stride) for k, stride in zip(kernel.shape[:2], strides, strict=True)]
    rows = []
    for i in range(strides[0]):
        row = []
        for j in range(strides[1]):
            phase_kernel = kernel[i :: strides[0], j :: strides[1]][::-1, ::-1].swapaxes(2, 3)
            pads = [(k - 1, t - 1) for k, t in zip(phase_kernel.shape[:2], taps, strict=True)]
            row.append(
                lax.conv_general_dilated(
                    x, phase_kernel, (1, 1), pads, dimension_numbers=DIMENSION_NUMBERS
                )
            )
        rows.append(jnp.stack(row, axis=3))
    return jnp.stack(rows, axis=2)


def _sum_of_taps(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Sequence[tuple[int, int]]
) -> jax.Array:
    """Computes a transposed convolution as one matrix product, whose parts are shifted and summed.

    XLA's CPU backend takes up to 66 times as long for the convolution of a small, dilated image,
    and twice as long for that of a small image without dilation.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    parts = jnp.einsum("nhwc,ijoc->ijnhwo", x, kernel, preferred_element_type=wide)
    total: Any = 0  # an array from the first tap on
    for tap in itertools.product(*map(range, kernel.shape[:2])):
        shifts = [
            (low - size + 1 + at, high - at, stride - 1)
            for (low, high), size, at, stride in zip(
                pads, kernel.shape[:2], tap, strides, strict=True
            )
        ]
        total += lax.pad(parts[tap], jnp.zeros((), wide), [(0, 0, 0), *shifts, (0, 0, 0)])
    return total.astype(x.dtype)


def _conv_transpose_forward(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, int],
    padding: tuple[int, int],
    output_padding: tuple[int, int],
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return conv_transpose(x, kernel, strides, padding, output_padding), (x, kernel)


def _conv_transpose_backward(
    strides: tuple[int, int],
    padding: tuple[int, int],
    output_padding: tuple[int, int],
    residuals: tuple[jax.Array, jax.Array],
    gradient: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    pads = tuple((p, p - extra) for p, extra in zip(padding, output_padding, strict=True))
    grad_x = convolve(gradient, kernel, strides, pads)
    return grad_x, kernel_gradient(gradient, x, kernel.shape[:2], strides, pads)


conv_transpose.defvjp(_conv_transpose_forward, _conv_transpose_backward)
