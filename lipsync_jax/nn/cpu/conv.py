"""Strided convolutions with derivatives that XLA runs fast inside loops and branches too."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from lipsync_jax.nn.cpu import winograd
from lipsync_jax.nn.gradient_sums import axes
from lipsync_jax.types import Argument

Pads = tuple[tuple[int, int], ...]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads) -> jax.Array:
    """Computes what `nn.conv.convolve` computes.

    The custom derivative has all axes in their usual places: inside a loop or a branch XLA's CPU
    backend does not move them there, and runs the derivative of JAX many times slower.
    """
    if winograd.is_profitable_in_inference(x, kernel, strides, pads):
        return winograd.convolve3x3(x, kernel, pads)
    return _convolve(x, kernel, strides, pads)


def _convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, ...],
    pads: Pads,
    **dilated: Argument,
) -> jax.Array:
    if not dilated and winograd.is_profitable(x, kernel, strides, pads):
        return winograd.convolve3x3(x, kernel, pads)
    return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=axes(x), **dilated)


def kernel_gradient(
    x: jax.Array, gradient: jax.Array, taps: tuple[int, ...], strides: tuple[int, ...], pads: Pads
) -> jax.Array:
    """Computes the gradient of the loss by the kernel of `convolve`.

    Args:
        x: see `convolve`.
        gradient: of the loss by the output, of the shape of the output.
        taps: sizes of the kernel.
        strides: see `convolve`.
        pads: see `convolve`.

    Returns:
        (*taps, inputs, outputs).
    """
    space = tuple(range(1, x.ndim - 1))
    kernel = jax.ShapeDtypeStruct((*taps, x.shape[-1], gradient.shape[-1]), x.dtype)
    if winograd.is_gradient_profitable(x, kernel, strides, pads):
        return winograd.kernel_gradient3x3(x, gradient, pads)
    grad_pads = []
    for axis, stride, size, (before, _) in zip(space, strides, taps, pads, strict=True):
        grad_pads.append(
            (before, size - 1 + _dilated_size(gradient, axis, stride) - x.shape[axis] - before)
        )
    y = lax.conv_general_dilated(
        jnp.transpose(x, (-1, *space, 0)),
        jnp.transpose(gradient, (*space, 0, -1)),
        (1,) * len(space),
        grad_pads,
        rhs_dilation=strides,
        dimension_numbers=axes(x),
    )
    return jnp.transpose(y, (*space, 0, -1))


def _input_gradient(
    x: jax.Array, kernel: jax.Array, gradient: jax.Array, strides: tuple[int, ...], pads: Pads
) -> jax.Array:
    space = tuple(range(1, x.ndim - 1))
    grad_pads = []
    for axis, stride, size, (before, _) in zip(space, strides, kernel.shape, pads, strict=False):
        grad_pads.append(
            (size - 1 - before, x.shape[axis] - _dilated_size(gradient, axis, stride) + before)
        )
    flipped = jnp.swapaxes(lax.rev(kernel, range(len(space))), -1, -2)
    dilated = {} if set(strides) == {1} else {"lhs_dilation": strides}
    ones = (1,) * len(space)
    return _convolve(gradient, flipped, ones, tuple(grad_pads), **dilated)


def _dilated_size(gradient: jax.Array, axis: int, stride: int) -> int:
    """Returns the size of an axis with zeros between its entries."""
    return (gradient.shape[axis] - 1) * stride + 1


def _forward(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve(x, kernel, strides, pads), (x, kernel)


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
