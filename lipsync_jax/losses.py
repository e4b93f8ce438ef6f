"""Losses that several papers share; all are computed in float32 at least."""

from typing import Any

import jax
import jax.numpy as jnp


@jax.custom_jvp
def _cross_entropy(probability: jax.Array, target: jax.Array) -> jax.Array:
    yes = jnp.maximum(jnp.log(probability), -100.0)
    no = jnp.maximum(jnp.log1p(-probability), -100.0)
    return -(target * yes + (1 - target) * no)


@_cross_entropy.defjvp
def _cross_entropy_jvp(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    probability, target = primals
    # Finite at 0 and 1, where the derivative of the clamped logarithms would be 0 or infinite.
    slope = (probability - target) / jnp.maximum(probability * (1 - probability), 1e-12)
    return _cross_entropy(probability, target), slope * tangents[0]


def binary_cross_entropy(
    probability: jax.Array, target: jax.Array | float, mean: bool = True
) -> jax.Array:
    """Binary cross-entropy of probabilities, logarithms clamped at -100 as PyTorch clamps them.

    The derivative is (p - t) / max(p (1 - p), 1e-12), PyTorch's too; none is taken of targets.

    Args:
        probability: in [0, 1], any shape.
        target: in [0, 1], broadcast to that shape.
        mean: whether to average.

    Returns:
        A scalar, or the shape of `probability`.
    """
    probability = _wide(probability)
    target = jnp.broadcast_to(jnp.asarray(target, probability.dtype), probability.shape)
    loss = _cross_entropy(probability, target)
    return jnp.mean(loss) if mean else loss


def cosine_similarity(a: jax.Array, b: jax.Array) -> jax.Array:
    """Cosine of the angle between vectors, lengths clamped at 1e-8.

    Args:
        a: (..., d).
        b: (..., d).

    Returns:
        (...,); rounding may leave it slightly outside [-1, 1].
    """
    a, b = _wide(a), _wide(b)
    return jnp.sum(a * b, axis=-1) / (_length(a, 1e-8) * _length(b, 1e-8))


def cosine_bce(
    a: jax.Array, b: jax.Array, target: jax.Array | float, mean: bool = True
) -> jax.Array:
    """Binary cross-entropy of the cosine (Prajwal et al. 2020, section 3.2).

    Negative cosines count as 0, with no gradient where the target is 0 too.

    Args:
        a: (n, d).
        b: (n, d).
        target: (n,) or one for all; 1 where a and b belong together, else 0.
        mean: whether to average.

    Returns:
        A scalar, or (n,).
    """
    return binary_cross_entropy(jnp.clip(cosine_similarity(a, b), 0.0, 1.0), target, mean)


def contrastive(
    a: jax.Array,
    b: jax.Array,
    temperature: float | jax.Array = 0.07,
    groups: jax.Array | None = None,
) -> jax.Array:
    """Symmetric InfoNCE: row i of `a` has to find row i of `b` among all rows, and back.

    Args:
        a: (n, d), any length; they are normalised.
        b: (n, d).
        temperature: divides the cosines.
        groups: int (n,), e.g. the clip of each row; if given, only rows of one group compete.

    Returns:
        A scalar, the mean of both directions; log n for embeddings that say nothing.
    """
    a, b = l2_normalise(a), l2_normalise(b)
    logits = jnp.matmul(a, b.T, precision="highest") / temperature
    if groups is not None:
        logits = jnp.where(groups[:, None] == groups, logits, -jnp.inf)
    chosen = jnp.diagonal(logits)
    rows, columns = (jax.nn.logsumexp(logits, axis=axis) - chosen for axis in (1, 0))
    return jnp.mean(rows + columns) / 2


def l1(a: jax.Array, b: jax.Array) -> jax.Array:
    """Mean absolute difference."""
    return jnp.mean(jnp.abs(_wide(a) - _wide(b)))


def mean_squared(a: jax.Array, b: jax.Array) -> jax.Array:
    """Mean squared difference, e.g. of perceptual codes (Chen et al. 2018, eq. 3)."""
    return jnp.mean(jnp.square(_wide(a) - _wide(b)))


def correlation(heard: jax.Array, seen: jax.Array, profile: bool = True) -> jax.Array:
    """How little the changes of sound and picture go together (Chen et al. 2018, eq. 1).

    Features that are at least 0, as those networks' are, have cosines near 1 from the start: 0.1 is
    a usual value of the loss for profiles that do not belong together.

    Args:
        heard: (n, time, features).
        seen: of the same shape.
        profile: whether features are averaged first, as in the published code, so that one number
            a step is compared; else all are.

    Returns:
        A scalar, 1 - cosine over a clip's steps, averaged over clips; in [0, 2].
    """
    a, b = (
        x.mean(axis=-1) if profile else x.reshape(len(x), -1) for x in (_wide(heard), _wide(seen))
    )
    return jnp.mean(1 - cosine_similarity(a, b))


def margin_contrastive(
    distance: jax.Array, apart: jax.Array | float, margin: float = 1.0
) -> jax.Array:
    """What belongs together should be near, what does not at least `margin` away.

    (Hadsell et al. 2006; LipGAN, KR et al. 2019, section 3.3.)

    Args:
        distance: (n,), at least 0.
        apart: 0 where two belong together, 1 where not; (n,) or one for all.
        margin: beyond which nothing is gained.

    Returns:
        A scalar, the mean.
    """
    distance = _wide(distance)
    short = jnp.maximum(margin - distance, 0)
    return jnp.mean((1 - apart) * distance**2 + apart * short**2)


def two_class(logits: jax.Array, label: int) -> jax.Array:
    """Mean cross-entropy of a softmax over the last axis when `label` is right for all.

    Args:
        logits: (n, classes); VGAN's are of real (0) and drawn (1).
        label: the class.
    """
    return -jnp.mean(jax.nn.log_softmax(_wide(logits))[..., label])


def multiscale_endpoint_error(
    flows: tuple[jax.Array, ...],
    true: jax.Array,
    weights: tuple[float, ...] = (0.005, 0.01, 0.02, 0.08, 0.32),
) -> jax.Array:
    """Weighted mean lengths of the faults of flow at several sizes (Dosovitskiy et al. 2015).

    Args:
        flows: (n, height / s, width / s, 2) each, the finest first, as FlowNetS returns them.
        true: (n, height, width, 2), in the same unit; it is averaged over s x s pixels.
        weights: of each.

    Returns:
        A scalar.
    """
    n, height, width, _ = true.shape
    total: Any = 0.0  # an array from the first size on
    for flow, weight in zip(flows, weights, strict=True):
        rows, columns = flow.shape[1:3]
        blocks = _wide(true).reshape(n, rows, height // rows, columns, width // columns, 2)
        fault = _wide(flow) - blocks.mean(axis=(2, 4))
        total += weight * jnp.mean(_length(fault, 1e-12))
    return total


def l2_normalise(x: jax.Array) -> jax.Array:
    """Vectors (..., d) of length 1; lengths are clamped at 1e-12, so zeros stay zeros."""
    x = _wide(x)
    return x / _length(x, 1e-12)[..., None]


def _wide(x: jax.Array) -> jax.Array:
    return jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32))


def _length(x: jax.Array, smallest: float) -> jax.Array:
    # Clamped inside the root, whose derivative at 0 is infinite.
    return jnp.sqrt(jnp.maximum(jnp.sum(x * x, axis=-1), smallest**2))
