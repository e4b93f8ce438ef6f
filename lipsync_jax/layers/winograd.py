"""3x3 convolutions with fewer products (Lavin & Gray 2016, F(2x2, 3x3)), for CPUs.

GPUs' libraries choose such algorithms by themselves; XLA's CPU backend never does.
"""

import jax
import jax.numpy as jnp

Pads = tuple[tuple[int, int], ...]

_CHANNELS = 128  # from which on the products outweigh what is added before and behind them
_PRODUCTS = 5e8  # likewise, the longer compilation


def suits(x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads) -> bool:
    """Whether `convolve3x3` does it, and sooner than XLA."""
    if kernel.shape[:-2] != (3, 3) or tuple(strides) != (1, 1) or x.dtype != jnp.float32:
        return False
    tiles = x.shape[0]
    for size, (before, behind) in zip(x.shape[1:3], pads, strict=True):
        if before < 0 or behind < 0:
            return False
        tiles *= (size + before + behind - 1) // 2
    inputs, outputs = kernel.shape[2:]
    return min(inputs, outputs) >= _CHANNELS and 16 * tiles * inputs * outputs >= _PRODUCTS


def convolve3x3(x: jax.Array, kernel: jax.Array, pads: Pads) -> jax.Array:
    """Convolution without strides, by tiles of 2x2 outputs: 16 products for 36.

    With g a 3x3 kernel and d the 4x4 inputs of a tile, the outputs are Aᵀ(GgGᵀ ⊙ BᵀdB)A, summed
    over channels before the outer transforms. They differ from those of the plain sum by some
    1e-6 of their size in float32.

    Args:
        x: (n, height, width, inputs).
        kernel: (3, 3, inputs, outputs).
        pads: zeros added before and behind each axis.

    Returns:
        (n, height + pads - 2, width + pads - 2, outputs).
    """
    n, inputs, outputs = len(x), *kernel.shape[2:]
    sizes = [size + sum(pad) - 2 for size, pad in zip(x.shape[1:3], pads, strict=True)]
    # Odd sizes are filled up to whole tiles.
    own = [(before, behind + size % 2) for size, (before, behind) in zip(sizes, pads, strict=True)]
    high, wide = ((size + 1) // 2 for size in sizes)
    x = jnp.pad(x, [(0, 0), *own, (0, 0)])
    rows = _inputs([x[:, i : i + 2 * high - 1 : 2] for i in range(4)])
    kernels = [_kernel(list(row)) for row in _kernel(list(kernel))]
    products = []
    for row, across in zip(rows, kernels, strict=True):
        tiles = _inputs([row[:, :, j : j + 2 * wide - 1 : 2] for j in range(4)])
        products.append(
            [tile.reshape(-1, inputs) @ one for tile, one in zip(tiles, across, strict=True)]
        )
    columns = [_outputs(list(down)) for down in zip(*products, strict=True)]
    y = [
        [part.reshape(n, high, wide, outputs) for part in _outputs(list(across))]
        for across in zip(*columns, strict=True)
    ]
    y = jnp.stack([jnp.stack(row, axis=3) for row in y], axis=2)
    return y.reshape(n, 2 * high, 2 * wide, outputs)[:, : sizes[0], : sizes[1]]


def _inputs(d: list[jax.Array]) -> list[jax.Array]:
    """Bᵀd: four inputs along an axis."""
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _kernel(g: list[jax.Array]) -> list[jax.Array]:
    """Gg: three taps along an axis."""
    ends, middle = (g[0] + g[2]) / 2, g[1] / 2
    return [g[0], ends + middle, ends - middle, g[2]]


def _outputs(m: list[jax.Array]) -> list[jax.Array]:
    """Aᵀm: four sums along an axis."""
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]
