"""Convolutions and products whose kernel gradients are summed in float32, over devices as well.

The gradient of a bfloat16 kernel is a sum over all positions of all examples. A device sums in
float32, but rounds before the devices' sums are added, in bfloat16. Here the rounding is last. The
convolutions of `nn.cpu` have derivatives of their own, and round in between.
"""

import contextlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax import lax

Pads = tuple[tuple[int, int], ...]

# JAX traces anew where the value changes.
_active = jax.make_user_context(False)


@contextlib.contextmanager
def float32_kernel_gradients(active: bool = True) -> Iterator[None]:
    """Within this context, the gradients of narrower kernels are summed in float32, if `active`."""
    with _active(active):
        yield


def sums_in_float32(kernel: jax.Array) -> bool:
    """Returns whether the gradient of a kernel is to be computed by this module."""
    return bool(_active.value) and kernel.dtype.itemsize < 4


def multiply(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes x @ kernel, (n, inputs) and (inputs, outputs)."""
    return _multiply(x, kernel) if sums_in_float32(kernel) else x @ kernel


@jax.custom_vjp
def _multiply(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return x @ kernel


def _multiply_forward(
    x: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return x @ kernel, (x, kernel)


def _multiply_backward(
    residuals: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    of_kernel = jnp.einsum("ni,no->io", x, gradient, preferred_element_type=jnp.float32)
    return gradient @ kernel.T, of_kernel.astype(kernel.dtype)


_multiply.defvjp(_multiply_forward, _multiply_backward)


def convolve(x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads) -> jax.Array:
    """Computes what `nn.conv.convolve` computes for signals and images, by XLA's convolution."""
    if sums_in_float32(kernel):
        return _convolve(x, kernel, strides, pads)
    return _xla_convolve(x, kernel, strides, pads)


def _xla_convolve(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads
) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=axes(x))


_convolve = jax.custom_vjp(_xla_convolve, nondiff_argnums=(2, 3))


def _convolve_forward(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _xla_convolve(x, kernel, strides, pads), (x, kernel)


def _convolve_backward(
    strides: tuple[int, ...],
    pads: Pads,
    residuals: tuple[jax.Array, jax.Array],
    gradient: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    (grad_x,) = jax.vjp(lambda x: _xla_convolve(x, kernel, strides, pads), x)[1](gradient)
    return grad_x, kernel_gradient(x, gradient, kernel, strides, pads)


_convolve.defvjp(_convolve_forward, _convolve_backward)


def kernel_gradient(
    x: jax.Array, gradient: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads
) -> jax.Array:
    """Computes the gradient by the kernel of `convolve`, summed in float32.

    Args:
        x: see `convolve`.
        gradient: of the loss by the output, of the shape of the output.
        kernel: whose shape and dtype the result has.
        strides: see `convolve`.
        pads: see `convolve`.
    """
    space = "DHW"[5 - x.ndim :]
    grad_pads = [
        (before, taps - 1 + (outputs - 1) * stride + 1 - inputs - before)
        for inputs, outputs, taps, stride, (before, _) in zip(
            x.shape[1:-1], gradient.shape[1:-1], kernel.shape, strides, pads, strict=False
        )
    ]
    summed = lax.conv_general_dilated(
        x,
        gradient,
        (1,) * len(space),
        grad_pads,
        rhs_dilation=strides,
        dimension_numbers=(f"C{space}N", f"I{space}O", f"{space}NC"),
        preferred_element_type=jnp.float32,
    )
    return summed.astype(kernel.dtype)


def axes(x: jax.Array) -> tuple[str, str, str]:
    """Returns the names of the axes of inputs, kernel and outputs for XLA's convolutions."""
    space = "DHW"[5 - x.ndim :]
    return f"N{space}C", f"{space}IO", f"N{space}C"
