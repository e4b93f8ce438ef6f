"""Convolutions over time, height and width, computed as 2-D ones of the frames side by side.

XLA's own 3-D convolutions, and their derivatives above all, are slower on every platform: many
times on CPUs, nearly three times by the estimates of XLA's compiler for TPUs. Kernels have the
shapes of 3-D convolutions.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

Pads = tuple[tuple[int, int], ...]
Triple = tuple[int, int, int]
# Computes what `nn.conv.convolve`, or `nn.conv.conv_transpose`, computes for images.
Convolution = Callable[..., jax.Array]


def conv3d(
    x: jax.Array, kernel: jax.Array, strides: Triple, pads: Pads, convolve: Convolution
) -> jax.Array:
    """Computes what `nn.conv.convolve` computes for clips, by `convolve` of images."""
    taps, step = kernel.shape[0], strides[0]
    x = jnp.pad(x, [(0, 0), pads[0], (0, 0), (0, 0), (0, 0)])
    space = strides[1:], pads[1:]
    if step == 1 and kernel.shape[-1] < kernel.shape[-2]:
        return _sum_of_shifted_taps(x, kernel, *space, convolve)
    last = x.shape[1] - taps + 1
    windows = jnp.concatenate([x[:, tap : tap + last : step] for tap in range(taps)], axis=-1)
    kernel = kernel.transpose(1, 2, 0, 3, 4).reshape(*kernel.shape[1:3], -1, kernel.shape[-1])
    return _per_frame(lambda frames: convolve(frames, kernel, *space), windows)


def conv_transpose3d(
    x: jax.Array,
    kernel: jax.Array,
    strides: Triple,
    padding: Triple,
    output_padding: Triple,
    conv_transpose: Convolution,
) -> jax.Array:
    """Computes what `nn.conv.conv_transpose` computes for clips, by that of images."""
    taps, rows, columns, outputs, inputs = kernel.shape
    flat = kernel.transpose(1, 2, 0, 3, 4).reshape(rows, columns, taps * outputs, inputs)
    space = strides[1:], padding[1:], output_padding[1:]
    tap_outputs = _per_frame(lambda frames: conv_transpose(frames, flat, *space), x)
    parts = jnp.split(tap_outputs, taps, axis=-1)
    # The output of tap i at frame t belongs to frame stride * t + i.
    no_pad, zero = [(0, 0, 0)], jnp.zeros((), parts[0].dtype)
    time_pad = (-padding[0], taps - 1 - padding[0] + output_padding[0])
    return sum(  # type: ignore[return-value]  # there is a tap at least
        lax.pad(
            part, zero, [*no_pad, (time_pad[0] + i, time_pad[1] - i, strides[0] - 1), *no_pad * 3]
        )
        for i, part in enumerate(parts)
    )


def _sum_of_shifted_taps(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, ...],
    pads: Pads,
    convolve: Convolution,
) -> jax.Array:
    """Shifts and sums the outputs of each tap: less work where output channels are few."""
    taps, outputs = kernel.shape[0], kernel.shape[-1]
    flat = kernel.transpose(1, 2, 3, 0, 4).reshape(*kernel.shape[1:4], taps * outputs)
    tap_outputs = jnp.split(
        _per_frame(lambda y: convolve(y, flat, strides, pads), x), taps, axis=-1
    )
    last = x.shape[1] - taps + 1
    return sum(part[:, tap : tap + last] for tap, part in enumerate(tap_outputs))  # type: ignore[return-value]


def _per_frame(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """Applies a function of images to the frames of clips as one batch."""
    y = function(x.reshape(-1, *x.shape[2:]))
    return y.reshape(*x.shape[:2], *y.shape[1:])
