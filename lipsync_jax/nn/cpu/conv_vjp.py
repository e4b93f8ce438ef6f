"""Strided convolutions whose derivatives XLA runs well wherever they stand."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from lipsync_jax.nn.cpu import winograd
from lipsync_jax.types import Argument

Pads = tuple[tuple[int, int], ...]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads) -> jax.Array:
    """Strided convolution over one, two or three axes.

    Its own derivative, the same sums with all axes in their usual places: inside a loop or a
    branch XLA's CPU backend doesn't put them there, and runs what JAX derives many times slower.

    Args:
        x: (n, *sizes, inputs).
        kernel: (*kernel sizes, inputs, outputs).
        strides: of the output, per axis.
        pads: zeros added before and behind each axis.

    Returns:
        (n, *new sizes, outputs).
    """
    return _sum(x, kernel, strides, pads)


def _sum(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads, **dilated: Argument
) -> jax.Array:
    if not dilated and _by_tiles(x, kernel, strides, pads):
        return winograd.convolve3x3(x, kernel, pads)
    return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=_axes(x), **dilated)


def _by_tiles(
    x: jax.Array, kernel: jax.Array | jax.ShapeDtypeStruct, strides: tuple[int, ...], pads: Pads
) -> bool:
    return jax.default_backend() == "cpu" and winograd.suits(x, kernel, strides, pads)


def kernel_gradient(
    x: jax.Array, gradient: jax.Array, taps: tuple[int, ...], strides: tuple[int, ...], pads: Pads
) -> jax.Array:
    """What `convolve` hands back to its kernel.

    Args:
        x: see `convolve`.
        gradient: of the loss by the output, of its shape.
        taps: sizes of the kernel.
        strides: see `convolve`.
        pads: see `convolve`.

    Returns:
        (*taps, inputs, outputs).
    """
    space = tuple(range(1, x.ndim - 1))
    kernel = jax.ShapeDtypeStruct((*taps, x.shape[-1], gradient.shape[-1]), x.dtype)
    if _by_tiles(x, kernel, strides, pads):
        return winograd.kernel_gradient3x3(x, gradient, pads)
    own = []
    for axis, stride, size, (before, _) in zip(space, strides, taps, pads, strict=True):
        own.append((before, size - 1 + _reach(gradient, axis, stride) - x.shape[axis] - before))
    y = lax.conv_general_dilated(
        jnp.transpose(x, (-1, *space, 0)),
        jnp.transpose(gradient, (*space, 0, -1)),
        (1,) * len(space),
        own,
        rhs_dilation=strides,
        dimension_numbers=_axes(x),
    )
    return jnp.transpose(y, (*space, 0, -1))


def _input_gradient(
    x: jax.Array, kernel: jax.Array, gradient: jax.Array, strides: tuple[int, ...], pads: Pads
) -> jax.Array:
    space = tuple(range(1, x.ndim - 1))
    own = []
    for axis, stride, size, (before, _) in zip(space, strides, kernel.shape, pads, strict=False):
        own.append((size - 1 - before, x.shape[axis] - _reach(gradient, axis, stride) + before))
    back = jnp.swapaxes(lax.rev(kernel, range(len(space))), -1, -2)
    dilated = {} if set(strides) == {1} else {"lhs_dilation": strides}
    return _sum(gradient, back, (1,) * len(space), tuple(own), **dilated)


def _reach(gradient: jax.Array, axis: int, stride: int) -> int:
    """Its size with zeros between its entries."""
    return (gradient.shape[axis] - 1) * stride + 1


def _axes(x: jax.Array) -> tuple[str, str, str]:
    space = "DHW"[5 - x.ndim :]
    return f"N{space}C", f"{space}IO", f"N{space}C"


def _forward(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve(x, kernel, strides, pads), (x, kernel)


def _backward(
    strides: tuple[int, ...],
    pads: Pads,
    residuals: tuple[jax.Array, jax.Array],
    gradient: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    taps = kernel.shape[:-2]
    return (
        _input_gradient(x, kernel, gradient, strides, pads),
        kernel_gradient(x, gradient, taps, strides, pads),
    )


convolve.defvjp(_forward, _backward)
