"""3x3 convolutions with fewer products (Lavin & Gray 2016, F(2x2, 3x3)), for CPUs.

Libraries for GPUs choose such algorithms by themselves; XLA's CPU backend never does.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from lipsync_jax.nn.cpu import local_size

Pads = tuple[tuple[int, int], ...]

_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)  # G
_OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float32)  # Aᵀ

_MIN_CHANNELS = 128  # from which the saved products outweigh the transforms
_MIN_GRADIENT_CHANNELS = 256  # of the kernel's gradient
_MIN_PRODUCTS = 5e8  # from which they outweigh the longer compilation
_MIN_IMAGE_PRODUCTS = 1.2e8  # likewise, of one image in inference, where batches are small


def is_profitable(
    x: jax.Array, kernel: jax.Array | jax.ShapeDtypeStruct, strides: tuple[int, ...], pads: Pads
) -> bool:
    """Returns whether `convolve3x3` applies and is faster than XLA's convolution."""
    return _count_products(x, kernel, strides, pads) * local_size(x.shape[0]) >= _MIN_PRODUCTS


def is_profitable_in_inference(
    x: jax.Array, kernel: jax.Array | jax.ShapeDtypeStruct, strides: tuple[int, ...], pads: Pads
) -> bool:
    """Returns what `is_profitable` returns, for a program that runs for many batches, also of 1."""
    large = _count_products(x, kernel, strides, pads) >= _MIN_IMAGE_PRODUCTS
    return large or is_profitable(x, kernel, strides, pads)


def is_gradient_profitable(
    x: jax.Array, kernel: jax.Array | jax.ShapeDtypeStruct, strides: tuple[int, ...], pads: Pads
) -> bool:
    """Returns whether `kernel_gradient3x3` applies and is faster than XLA's convolution."""
    wide = min(kernel.shape[-2:]) >= _MIN_GRADIENT_CHANNELS
    return wide and is_profitable(x, kernel, strides, pads)


def _count_products(
    x: jax.Array, kernel: jax.Array | jax.ShapeDtypeStruct, strides: tuple[int, ...], pads: Pads
) -> int:
    """Returns the number of products for an image; 0 where the algorithm does not apply."""
    if kernel.shape[:-2] != (3, 3) or tuple(strides) != (1, 1) or x.dtype != jnp.float32:
        return 0
    products = 16 * math.prod(kernel.shape[2:])
    for size, (before, after) in zip(x.shape[1:3], pads, strict=True):
        if before < 0 or after < 0:
            return 0
        products *= (size + before + after - 1) // 2
    return products if min(kernel.shape[2:]) >= _MIN_CHANNELS else 0


def convolve3x3(x: jax.Array, kernel: jax.Array, pads: Pads) -> jax.Array:
    """Computes a convolution without strides, by tiles of 2x2 outputs: 16 products for 36.

    With g a 3x3 kernel and d the 4x4 inputs of a tile, the outputs are Aᵀ(GgGᵀ ⊙ BᵀdB)A, summed
    over channels before the outer transforms. The outputs differ from those of the plain sum by
    some 1e-6 of their size in float32.

    4 loops and three products; both axes of kernels and of outputs are transformed by one product.
    XLA compiles loops, and calls a library for products. With 7 loops the generator of Wav2Lip
    takes 1.0 s more to compile, with 34 loops, which store no transform of an axis, 3.7 s more,
    for 3 % less time.

    Args:
        x: (n, height, width, inputs).
        kernel: (3, 3, inputs, outputs).
        pads: zeros added before and after each axis.

    Returns:
        (n, height + pads - 2, width + pads - 2, outputs).
    """
    sizes, high, wide = _tile_grid(x, pads)
    kernels = _transform(_KERNEL, kernel)
    products = jnp.einsum("ijtc,ijco->ijto", _stacked_inputs(x, pads), kernels)
    outputs = _transform(_OUTPUT, products).reshape(2, 2, len(x), high, wide, -1)
    both = jnp.moveaxis(outputs, (0, 1), (2, 4))
    return both.reshape(len(x), 2 * high, 2 * wide, -1)[:, : sizes[0], : sizes[1]]


def kernel_gradient3x3(x: jax.Array, gradient: jax.Array, pads: Pads) -> jax.Array:
    """Computes the gradient by the kernel of `convolve3x3`: Gᵀ(BᵀdB ⊙ AyAᵀ)G, summed over tiles.

    Args:
        x: see `convolve3x3`.
        gradient: of the loss by the output, of the shape of the output.
        pads: see `convolve3x3`.

    Returns:
        (3, 3, inputs, outputs).
    """
    sizes, high, wide = _tile_grid(x, pads)
    fill = [(0, 2 * tiles - size) for tiles, size in zip((high, wide), sizes, strict=True)]
    y = jnp.pad(gradient, [(0, 0), *fill, (0, 0)])
    y = jnp.stack(_outputs_transposed([y[:, i::2] for i in range(2)]))
    y = jnp.stack(_outputs_transposed([y[..., j::2, :] for j in range(2)]), axis=1)
    y = y.reshape(4, 4, -1, gradient.shape[-1])
    products = jnp.einsum("ijtc,ijto->ijco", _stacked_inputs(x, pads), y)
    return _transform(_KERNEL.T, products)


def _transform(matrix: np.ndarray, x: jax.Array) -> jax.Array:
    """Computes MxMᵀ along the first two axes of x, by one product."""
    rows, columns = matrix.shape
    y = jnp.matmul(np.kron(matrix, matrix), x.reshape(columns**2, -1))
    return y.reshape(rows, rows, *x.shape[2:])


def _stacked_inputs(x: jax.Array, pads: Pads) -> jax.Array:
    """Computes BᵀdB of all tiles, (4, 4, n * tiles, inputs)."""
    _, high, wide = _tile_grid(x, pads)
    x = _pad_to_tiles(x, pads)
    rows = jnp.stack(_inputs([x[:, i : i + 2 * high - 1 : 2] for i in range(4)]))
    tiles = _inputs([rows[..., j : j + 2 * wide - 1 : 2, :] for j in range(4)])
    return jnp.stack(tiles, axis=1).reshape(4, 4, -1, x.shape[-1])


def _tile_grid(x: jax.Array, pads: Pads) -> tuple[list[int], int, int]:
    """Returns rows and columns of the output; rows and columns of the tiles that cover it."""
    sizes = [size + sum(pad) - 2 for size, pad in zip(x.shape[1:3], pads, strict=True)]
    return sizes, (sizes[0] + 1) // 2, (sizes[1] + 1) // 2


def _pad_to_tiles(x: jax.Array, pads: Pads) -> jax.Array:
    """Pads images, those of odd sizes to whole tiles."""
    sizes, _, _ = _tile_grid(x, pads)
    tile_pads = [
        (before, after + size % 2) for size, (before, after) in zip(sizes, pads, strict=True)
    ]
    return jnp.pad(x, [(0, 0), *tile_pads, (0, 0)])


def _inputs(d: list[jax.Array]) -> list[jax.Array]:
    """Computes Bᵀd: four inputs along an axis."""
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _outputs_transposed(y: list[jax.Array]) -> list[jax.Array]:
    """Computes Ay: two gradients along an axis."""
    return [y[0], y[0] + y[1], y[0] - y[1], -y[1]]
