"""Figures of what is drawn beside what is real: of faces, and of clips over their valid frames."""

import jax
import jax.numpy as jnp

LUMINANCE = (0.299, 0.587, 0.114)  # of RGB


def mouth(pictures: jax.Array) -> jax.Array:
    """What lies around the mouth of faces (..., height, width, 3), cut as `face96` is.

    The middle half of the columns, rows 55 % to 95 %.
    """
    height, width = pictures.shape[-3:-1]
    rows = slice(round(0.55 * height), round(0.95 * height))
    return pictures[..., rows, width // 4 : width - width // 4, :]


def mouth_error(drawn: jax.Array, target: jax.Array) -> jax.Array:
    """Absolute error around the mouth.

    Args:
        drawn: (n, size, size, 3) in [0, 1].
        target: the same.

    Returns:
        (n, rows, columns, 3), see `mouth`.
    """
    return jnp.abs(mouth(drawn) - mouth(target))


def per_clip(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Means (n,) of (n, time, ...) over valid frames and all else; `mask` is bool (n, time)."""
    frames = values.reshape(*mask.shape, -1).mean(axis=-1)
    return jnp.sum(frames * mask, axis=1) / mask.sum(axis=1)


def over_time(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Means (n, ...) of (n, time, ...) over valid frames."""
    return jnp.einsum("nt,nt...->n...", mask / mask.sum(axis=1, keepdims=True), values)


def psnr(drawn: jax.Array, real: jax.Array, mask: jax.Array, row: int = 0) -> jax.Array:
    """Decibels (n,) of clips' luminance from a row down; their squared error is the whole clip's.

    Args:
        drawn: (n, time, height, width, 3), RGB in [-1, 1].
        real: of the same shape.
        mask: bool (n, time), which frames count.
        row: the first that counts.
    """
    error = (drawn - real)[:, :, row:] @ jnp.array(LUMINANCE) / 2
    return -10 * jnp.log10(per_clip(error**2, mask))


def motion_and_correlation(
    drawn: jax.Array, real: jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Share of the motion and its correlation, each (n,), of pictures (n, time, ...)."""
    drawn, real = (x - over_time(x, mask)[:, None] for x in (drawn, real))
    drawn_power, real_power, common = (per_clip(x, mask) for x in (drawn**2, real**2, drawn * real))
    smallest = 1e-12  # of frames that do not move at all
    correlation = common / jnp.sqrt(jnp.maximum(drawn_power * real_power, smallest**2))
    return jnp.sqrt(drawn_power / jnp.maximum(real_power, smallest)), correlation
