"""Losses of pixels and edges, weighted towards the mouth; faces (n, size, size, 3) in [0, 1]."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lipsync_jax import losses
from lipsync_jax.faces.regions import MOUTH_FACE96, crop_mouth
from lipsync_jax.ops.luminance import BGR_WEIGHTS


def weight_map(size: int, lower_half: float, mouth: float) -> np.ndarray:
    """Computes weights of pixels, with mean 1.

    Args:
        size: side of the faces.
        lower_half: weight of a pixel below the middle row, relative to 1 above that row.
        mouth: added to the weights in the region `MOUTH_FACE96`.

    Returns:
        float32 (size, size, 1).
    """
    weights = np.ones((size, size, 1), np.float32)
    weights[size // 2 :] = lower_half
    crop_mouth(weights, MOUTH_FACE96)[...] += mouth  # a view
    return weights / weights.mean()


def weighted_l1(
    generated: Float[Array, "n size size 3"],
    target: Float[Array, "n size size 3"],
    weights: Float[Array, "size size 1"] | np.ndarray,
) -> Float[Array, ""]:
    """Computes the mean absolute error with a weight (size, size, 1) of each pixel."""
    return losses.l1(generated * weights, target * weights)


def edge_l1(
    generated: Float[Array, "n size size 3"],
    target: Float[Array, "n size size 3"],
    weights: Float[Array, "size size 1"] | np.ndarray,
) -> Float[Array, ""]:
    """Computes the L1 loss of image gradients (compare Mathieu et al. 2016, eq. 6)."""
    error = generated - target
    down = jnp.abs(error[:, 1:] - error[:, :-1]) * weights[1:]
    right = jnp.abs(error[:, :, 1:] - error[:, :, :-1]) * weights[:, 1:]
    return jnp.mean(down) + jnp.mean(right)


def motion_l2(
    predicted: Float[Array, "n features"], target: Float[Array, "n features"], num_clips: int
) -> Float[Array, ""]:
    """Computes the mean squared error of motion codes that are predicted from audio.

    The unit of each feature is its standard deviation within a clip. Two small terms shape the
    targets: a tenth of the error's gradient reaches their encoder, so that it prefers motion that
    audio predicts, and their mean over each clip is penalised, so that what differs between clips
    (the person, the camera), which the reference image shows already, stays out of the codes.

    Args:
        predicted: (n, features), from audio; all frames of a clip are consecutive.
        target: (n, features), of the mouths to generate.
        num_clips: clips of n / num_clips frames.
    """
    of_clips = target.reshape(num_clips, -1, target.shape[-1])
    means = of_clips.mean(axis=1, keepdims=True)
    std = jnp.sqrt(jnp.mean((of_clips - means) ** 2, axis=(0, 1)) + 1e-4)
    frozen = jax.lax.stop_gradient((target, std))
    error = jnp.mean(((predicted - frozen[0]) / frozen[1]) ** 2)
    error_of_target = jnp.mean(((jax.lax.stop_gradient(predicted) - target) / std) ** 2)
    return error + 0.1 * error_of_target + 0.1 * jnp.mean((means / std) ** 2)


def mouth_laplacian_variance(faces: Float[Array, "n size size 3"]) -> Float[Array, " n"]:
    """Computes the variance of the Laplacian of the mouth's luminance, a measure of sharpness.

    Args:
        faces: (n, size, size, 3), BGR in [0, 1].

    Returns:
        (n,), of luminance in [0, 255]; higher is sharper.
    """
    luminance = 255 * crop_mouth(faces, MOUTH_FACE96) @ jnp.array(BGR_WEIGHTS)
    laplacian = (
        luminance[:, 2:, 1:-1]
        + luminance[:, :-2, 1:-1]
        + luminance[:, 1:-1, 2:]
        + luminance[:, 1:-1, :-2]
        - 4 * luminance[:, 1:-1, 1:-1]
    )
    return jnp.var(laplacian, axis=(1, 2))
