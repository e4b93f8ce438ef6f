"""Sums over rows as matrix products."""

import jax
import jax.numpy as jnp


def sum_rows(x: jax.Array) -> jax.Array:
    """Sums (n, m) over n: XLA's CPU backend adds up columns several times slower."""
    return jnp.einsum("nm,mc->nc", jnp.ones((1, len(x)), x.dtype), x, precision="highest")[0]
