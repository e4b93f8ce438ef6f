"""Peak signal-to-noise ratio."""

import jax
import jax.numpy as jnp


@jax.jit
def psnr(a: jax.Array, b: jax.Array, peak: float = 1.0) -> jax.Array:
    """10 · log10(peak² / MSE), the mean square error over all pixels and channels of a picture.

    Symmetric in its pictures; blind to the order of channels and to where the error is. Integers
    are subtracted as numbers (subtracting uint8 wraps around, and then no two pictures are less
    alike than 27.9 dB: published tables between 28 and 30 dB may be that). The mean over a clip's
    frames is a mean of decibels.

    Args:
        a: (..., height, width, channels), on a scale from 0 to `peak`.
        b: the same shape and scale.
        peak: the greatest possible value: 1.0, or 255 for uint8.

    Returns:
        float32 (...), decibels; inf where the pictures are the same.

    Raises:
        ValueError: shapes differ or aren't those of pictures.
    """
    check_pair(a, b)
    error = jnp.asarray(a, jnp.float32) - jnp.asarray(b, jnp.float32)
    return 10 * jnp.log10(peak**2 / jnp.mean(jnp.square(error), axis=(-3, -2, -1)))


def check_pair(a: jax.Array, b: jax.Array) -> None:
    """Raises ValueError unless both are pictures of one shape (..., height, width, channels)."""
    if a.shape != b.shape or a.ndim < 3:
        raise ValueError(
            f"pictures of shapes {a.shape} and {b.shape} can't be compared; both must be "
            "(..., height, width, channels)"
        )
