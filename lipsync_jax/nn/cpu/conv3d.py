"""Convolutions over time, height and width, as 2-D ones of what the taps in time see.

XLA's own 3-D convolutions, and their derivatives above all, are many times slower on CPU. Kernels
keep the shapes of 3-D ones.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from lipsync_jax.nn.conv import conv_transpose
from lipsync_jax.nn.cpu.conv_vjp import convolve
from lipsync_jax.nn.gru import fold_time, unfold_time

Triple = tuple[int, int, int]


def conv3d(x: jax.Array, kernel: jax.Array, strides: Triple, padding: Triple) -> jax.Array:
    """Convolution over time, height and width.

    Args:
        x: (n, time, height, width, inputs).
        kernel: (kernel time, kernel height, kernel width, inputs, outputs).
        strides: per axis.
        padding: zeros added on both sides of each axis.

    Returns:
        (n, new time, new height, new width, outputs), of the sizes that a 2-D one has.

    Raises:
        ValueError: the clip is shorter than the kernel.
    """
    taps, step = kernel.shape[0], strides[0]
    x = jnp.pad(x, [(0, 0), (padding[0],) * 2, (0, 0), (0, 0), (0, 0)])
    if x.shape[1] < taps:
        raise ValueError(f"a kernel of {taps} frames does not fit {x.shape[1]} (padding included)")
    space = strides[1:], padding[1:]
    if step == 1 and kernel.shape[-1] < kernel.shape[-2]:
        return _by_outputs(x, kernel, *space)
    last = x.shape[1] - taps + 1
    seen = jnp.concatenate([x[:, tap : tap + last : step] for tap in range(taps)], axis=-1)
    kernel = kernel.transpose(1, 2, 0, 3, 4).reshape(*kernel.shape[1:3], -1, kernel.shape[-1])
    return _over_frames(lambda frames: _conv(frames, kernel, *space), seen)


def conv_transpose3d(
    x: jax.Array,
    kernel: jax.Array,
    strides: Triple,
    padding: Triple,
    output_padding: Triple = (0, 0, 0),
) -> jax.Array:
    """Transposed convolution over time, height and width; see `conv.conv_transpose`.

    Args:
        x: (n, time, height, width, inputs).
        kernel: (kernel time, kernel height, kernel width, outputs, inputs), as the strided
            convolution from `outputs` to `inputs` channels has it.
        strides: per axis.
        padding: zeros the strided convolution adds on both sides of each axis.
        output_padding: frames, rows and columns added at the end of each axis.

    Returns:
        (n, (time - 1) * stride - 2 * padding + kernel time + output_padding, ..., outputs).
    """
    taps, rows, columns, outputs, inputs = kernel.shape
    flat = kernel.transpose(1, 2, 0, 3, 4).reshape(rows, columns, taps * outputs, inputs)
    space = strides[1:], padding[1:], output_padding[1:]
    drawn = _over_frames(lambda frames: conv_transpose(frames, flat, *space), x)
    parts = jnp.split(drawn, taps, axis=-1)
    # What tap i draws of frame t belongs to frame stride * t + i.
    still, zero = [(0, 0, 0)], jnp.zeros((), parts[0].dtype)
    cut = (-padding[0], taps - 1 - padding[0] + output_padding[0])
    return sum(  # type: ignore[return-value]  # there is a tap at least
        lax.pad(part, zero, [*still, (cut[0] + i, cut[1] - i, strides[0] - 1), *still * 3])
        for i, part in enumerate(parts)
    )


def _by_outputs(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: tuple[int, ...]
) -> jax.Array:
    """Each tap's outputs of all frames, shifted and added: less work where outputs are few."""
    taps, outputs = kernel.shape[0], kernel.shape[-1]
    flat = kernel.transpose(1, 2, 3, 0, 4).reshape(*kernel.shape[1:4], taps * outputs)
    drawn = jnp.split(_over_frames(lambda y: _conv(y, flat, strides, padding), x), taps, axis=-1)
    last = x.shape[1] - taps + 1
    return sum(part[:, tap : tap + last] for tap, part in enumerate(drawn))  # type: ignore[return-value]


def _conv(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: tuple[int, ...]
) -> jax.Array:
    return convolve(x, kernel, strides, tuple((p, p) for p in padding))


def _over_frames(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """Runs a function of pictures on the frames of clips, all as one batch."""
    return unfold_time(function(fold_time(x)), x.shape[1])
