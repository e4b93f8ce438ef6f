"""Dtypes of computations."""

import jax
import jax.numpy as jnp


def at_least_float32(x: jax.Array) -> jax.Array:
    """Returns x as float32 unless its dtype is wider."""
    return jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32))
