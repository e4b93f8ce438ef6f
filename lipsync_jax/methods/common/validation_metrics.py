"""Validation metrics of generated faces, and of generated clips over their valid frames."""

import jax
import jax.numpy as jnp

from lipsync_jax.faces.regions import MOUTH_FACE96, crop_mouth
from lipsync_jax.ops.luminance import RGB_WEIGHTS


def mouth_absolute_error(generated: jax.Array, target: jax.Array) -> jax.Array:
    """Computes the absolute error of each pixel of the mouth region `MOUTH_FACE96`.

    Args:
        generated: (n, size, size, 3) in [0, 1].
        target: (n, size, size, 3) in [0, 1].

    Returns:
        (n, rows, columns, 3), see `faces.regions.crop_mouth`.
    """
    return jnp.abs(crop_mouth(generated, MOUTH_FACE96) - crop_mouth(target, MOUTH_FACE96))


def masked_mean_per_clip(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Computes means (n,) of (n, time, ...) over valid frames; `mask` is bool (n, time)."""
    frames = values.reshape(*mask.shape, -1).mean(axis=-1)
    return jnp.sum(frames * mask, axis=1) / mask.sum(axis=1)


def temporal_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Computes means (n, ...) of (n, time, ...) over valid frames; `mask` is bool (n, time)."""
    return jnp.einsum("nt,nt...->n...", mask / mask.sum(axis=1, keepdims=True), values)


def psnr_y(generated: jax.Array, real: jax.Array, mask: jax.Array, first_row: int = 0) -> jax.Array:
    """Computes the PSNR (n,) of clips' luminance, in dB, from each clip's mean squared error.

    Args:
        generated: (n, time, height, width, 3), RGB in [-1, 1].
        real: (n, time, height, width, 3), RGB in [-1, 1].
        mask: bool (n, time), the valid frames.
        first_row: rows above it are ignored.
    """
    error = (generated - real)[:, :, first_row:] @ jnp.array(RGB_WEIGHTS) / 2
    return -10 * jnp.log10(masked_mean_per_clip(error**2, mask))


def motion_ratio_and_correlation(
    generated: jax.Array, real: jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Computes generated over real motion, and their correlation.

    Motion is the deviation of each pixel from its mean over a clip.

    Args:
        generated: (n, time, ...).
        real: (n, time, ...).
        mask: bool (n, time), the valid frames.

    Returns:
        Ratio of the root mean squares (n,), and correlation (n,) in [-1, 1].
    """
    generated, real = (x - temporal_mean(x, mask)[:, None] for x in (generated, real))
    generated_power, real_power, common = (
        masked_mean_per_clip(x, mask) for x in (generated**2, real**2, generated * real)
    )
    smallest = 1e-12  # of clips without motion
    correlation = common / jnp.sqrt(jnp.maximum(generated_power * real_power, smallest**2))
    return jnp.sqrt(generated_power / jnp.maximum(real_power, smallest)), correlation
