"""Losses of several papers; all compute in float32 or wider."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lipsync_jax.ops.dtypes import at_least_float32


@jax.custom_jvp
def _cross_entropy(probability: jax.Array, target: jax.Array) -> jax.Array:
    log_p = jnp.maximum(jnp.log(probability), -100.0)
    log_1mp = jnp.maximum(jnp.log1p(-probability), -100.0)
    return -(target * log_p + (1 - target) * log_1mp)


@_cross_entropy.defjvp
def _cross_entropy_jvp(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    probability, target = primals
    # Finite at 0 and 1, where the derivative of the clamped logarithms would be 0 or infinite.
    derivative = (probability - target) / jnp.maximum(probability * (1 - probability), 1e-12)
    return _cross_entropy(probability, target), derivative * tangents[0]


def binary_cross_entropy(
    probability: Float[Array, "*shape"], target: jax.Array | float, mean: bool = True
) -> Float[Array, "*result"]:
    """Computes binary cross-entropy of probabilities, logarithms clamped at -100 as in PyTorch.

    The derivative is (p - t) / max(p (1 - p), 1e-12), as in PyTorch; targets have no gradient.

    Args:
        probability: in [0, 1], any shape.
        target: in [0, 1], broadcast to that shape.
        mean: whether to average.

    Returns:
        A scalar, or the shape of `probability`.
    """
    probability = at_least_float32(probability)
    target = jnp.broadcast_to(jnp.asarray(target, probability.dtype), probability.shape)
    loss = _cross_entropy(probability, target)
    return jnp.mean(loss) if mean else loss


def cosine_similarity(a: Float[Array, "*n d"], b: Float[Array, "*n d"]) -> Float[Array, "*n"]:
    """Computes the cosine of the angle between vectors, lengths clamped at 1e-8.

    Args:
        a: (..., d).
        b: (..., d).

    Returns:
        (...,); rounding may leave it slightly outside [-1, 1].
    """
    a, b = at_least_float32(a), at_least_float32(b)
    return jnp.sum(a * b, axis=-1) / (_norm(a, 1e-8) * _norm(b, 1e-8))


def cosine_bce_loss(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    target: Float[Array, "#n"] | float,
    mean: bool = True,
) -> Float[Array, "*result"]:
    """Computes binary cross-entropy of the cosine (Prajwal et al. 2020, section 3.3).

    Negative cosines count as 0, without a gradient where the target is 0 too.

    Args:
        a: (n, d).
        b: (n, d).
        target: (n,) or a scalar; 1 for positive pairs, 0 for negative pairs.
        mean: whether to average.

    Returns:
        A scalar, or (n,).
    """
    # Deviation W8: the published code does not clip.
    return binary_cross_entropy(jnp.clip(cosine_similarity(a, b), 0.0, 1.0), target, mean)


def info_nce(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    temperature: float | Float[Array, ""] = 0.07,
    groups: Int[Array, " n"] | None = None,
) -> Float[Array, ""]:
    """Computes symmetric InfoNCE: row i of `a` matches row i of `b` among all rows, and vice versa.

    Args:
        a: (n, d), of any length; normalised here.
        b: (n, d).
        temperature: divides the cosines.
        groups: int (n,), e.g. the clip of each row; if given, only rows of one group are compared.

    Returns:
        A scalar, the mean of both directions; log n for uninformative embeddings.
    """
    a, b = l2_normalize(a), l2_normalize(b)
    logits = jnp.matmul(a, b.T, precision="highest") / temperature
    if groups is not None:
        logits = jnp.where(groups[:, None] == groups, logits, -jnp.inf)
    positives = jnp.diagonal(logits)
    rows, columns = (jax.nn.logsumexp(logits, axis=axis) - positives for axis in (1, 0))
    return jnp.mean(rows + columns) / 2


def l1(a: Float[Array, "*shape"], b: Float[Array, "*shape"]) -> Float[Array, ""]:
    """Computes the mean absolute difference."""
    return jnp.mean(jnp.abs(at_least_float32(a) - at_least_float32(b)))


def mse(a: Float[Array, "*shape"], b: Float[Array, "*shape"]) -> Float[Array, ""]:
    """Computes the mean squared difference, e.g. of perceptual codes (Chen et al. 2018, eq. 3)."""
    return jnp.mean(jnp.square(at_least_float32(a) - at_least_float32(b)))


def derivative_correlation_loss(
    audio_features: Float[Array, "n time features"],
    motion_features: Float[Array, "n time features"],
    mean_over_features: bool = True,
) -> Float[Array, ""]:
    """Computes 1 - correlation of audio and motion features over time (Chen et al. 2018, eq. 1).

    Non-negative features, as those of these networks, have cosines near 1: uncorrelated features
    have a loss of about 0.1.

    Args:
        audio_features: (n, time, features).
        motion_features: (n, time, features).
        mean_over_features: whether features are averaged first, as in the published code, so that
            a time step has one number; else all features count.

    Returns:
        A scalar in [0, 2], 1 - cosine over a clip's time steps, averaged over clips.
    """
    a, b = (
        x.mean(axis=-1) if mean_over_features else x.reshape(len(x), -1)
        for x in (at_least_float32(audio_features), at_least_float32(motion_features))
    )
    return jnp.mean(1 - cosine_similarity(a, b))


def contrastive_loss(
    distance: Float[Array, " n"], is_negative: jax.Array | float, margin: float = 1.0
) -> Float[Array, ""]:
    """Computes the contrastive loss: small distances of positives, at least `margin` of negatives.

    (Hadsell et al. 2006; LipGAN, KR et al. 2019, section 3.3.)

    Args:
        distance: (n,), at least 0.
        is_negative: 0 for positive pairs, 1 for negative pairs; (n,) or a scalar.
        margin: distance of negatives beyond which their loss is 0.

    Returns:
        A scalar, the mean.
    """
    distance = at_least_float32(distance)
    shortfall = jnp.maximum(margin - distance, 0)
    return jnp.mean((1 - is_negative) * distance**2 + is_negative * shortfall**2)


def multiscale_endpoint_error(
    flows: tuple[Float[Array, "n _ _ 2"], ...],
    target: Float[Array, "n height width 2"],
    weights: tuple[float, ...] = (0.005, 0.01, 0.02, 0.08, 0.32),
    reduction: Literal["sum", "mean"] = "sum",
) -> Float[Array, ""]:
    """Computes the weighted endpoint errors of several resolutions (Dosovitskiy et al. 2015).

    The weights are made for sums over pixels: with means, the finest flow has 1 % of the loss.

    Args:
        flows: (n, height / s, width / s, 2) each, the finest first, as FlowNetS returns them.
        target: (n, height, width, 2), in the unit of `flows`; averaged over s x s pixels.
        weights: one per resolution.
        reduction: of the errors at a resolution: "sum" over pixels, and mean over the batch, or
            "mean" over both.

    Returns:
        A scalar.
    """
    n, height, width, _ = target.shape
    total: Any = 0.0  # an array after the first resolution
    for flow, weight in zip(flows, weights, strict=True):
        rows, columns = flow.shape[1:3]
        blocks = at_least_float32(target).reshape(
            n, rows, height // rows, columns, width // columns, 2
        )
        error = at_least_float32(flow) - blocks.mean(axis=(2, 4))
        pixels = rows * columns if reduction == "sum" else 1
        total += weight * pixels * jnp.mean(_norm(error, 1e-12))
    return total


def l2_normalize(x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
    """Scales vectors (..., d) to length 1; lengths are clamped at 1e-12, so zeros stay zeros."""
    x = at_least_float32(x)
    return x / _norm(x, 1e-12)[..., None]


def _norm(x: jax.Array, min_length: float) -> jax.Array:
    # Clamped inside the root, whose derivative at 0 is infinite.
    return jnp.sqrt(jnp.maximum(jnp.sum(x * x, axis=-1), min_length**2))
