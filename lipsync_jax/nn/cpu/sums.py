"""Sums over rows as matrix products."""

import math

import jax
import jax.numpy as jnp

from lipsync_jax.nn.cpu import local_size

_MAX_PARTS = 256


def sum_rows(x: jax.Array) -> jax.Array:
    """Sums (n, m) over n: XLA's CPU backend adds up columns several times slower.

    A matrix product adds its terms one after the other, and rounding errors grow with their number.
    The rows are therefore added in parts of equal size, then the sums of the parts.
    """
    parts = _num_parts(len(x))
    return _add(_add(x.reshape(-1, parts * x.shape[1])).reshape(parts, -1))


def _add(x: jax.Array) -> jax.Array:
    ones = jnp.ones((1, len(x)), x.dtype)
    return jnp.einsum("nm,mc->nc", ones, x, precision="highest")[0]


def _num_parts(rows: int) -> int:
    """Returns a divisor of the rows of each device, near their root."""
    on_device = math.gcd(rows, local_size(rows))
    largest = min(math.isqrt(on_device), _MAX_PARTS)
    return next((parts for parts in range(largest, 0, -1) if on_device % parts == 0), 1)
