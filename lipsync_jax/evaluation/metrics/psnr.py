"""Peak signal-to-noise ratio."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num


@jax.jit
def psnr(
    a: Num[Array, "*batch height width channels"],
    b: Num[Array, "*batch height width channels"],
    peak: float = 1.0,
) -> Float[Array, "*batch"]:
    """Computes 10 · log10(peak² / MSE), the mean squared error over all pixels and channels.

    Symmetric; invariant to the order of channels and to the position of errors. Integers are
    converted to float32 before subtraction (uint8 subtraction wraps around, after which PSNR is at
    least 27.9 dB: published tables between 28 and 30 dB may have this error). The mean over a
    clip's frames is a mean of decibels.

    Args:
        a: (..., height, width, channels), on a scale from 0 to `peak`.
        b: of equal shape and scale.
        peak: the greatest possible value: 1.0, or 255 for uint8.

    Returns:
        float32 (...), decibels; inf for identical images.

    Raises:
        ValueError: the shapes differ, or are not those of images.
    """
    check_pair(a, b)
    # Deviation M2: the published code of Chen et al. 2018 subtracts uint8.
    error = jnp.asarray(a, jnp.float32) - jnp.asarray(b, jnp.float32)
    return 10 * jnp.log10(peak**2 / jnp.mean(jnp.square(error), axis=(-3, -2, -1)))


def check_pair(a: jax.Array, b: jax.Array) -> None:
    """Raises ValueError unless both are images of one shape (..., height, width, channels)."""
    if a.shape != b.shape or a.ndim < 3:
        raise ValueError(
            f"images of shapes {a.shape} and {b.shape} can't be compared; both must be "
            "(..., height, width, channels)"
        )
