"""Clips as training examples: segments of them, inputs of networks, and grids of images."""

import jax
import jax.numpy as jnp
import numpy as np

from lipsync_jax.data.clip import Clip
from lipsync_jax.methods.glance.model import FRAMES

NUM_SAMPLE_CLIPS = 4  # of fixed length, in grids of images


def sample_segment(clip: Clip, rng: np.random.Generator, hop: int = 1) -> range:
    """Samples 16 successive frames of a clip.

    Args:
        clip: the clip.
        rng: source of randomness.
        hop: frames between the starts of two segments.

    Raises:
        ValueError: the clip has fewer frames.
    """
    last = len(clip.frames) - FRAMES
    if last < 0:
        raise ValueError(f"it has {len(clip.frames)} frames; at least {FRAMES} are required")
    start = hop * int(rng.integers(last // hop + 1))
    return range(start, start + FRAMES)


def check_segment_hop(hop: int) -> None:
    """Raises ValueError unless `config.segment_hop` is at least 1."""
    if hop < 1:
        raise ValueError(f"config.segment_hop={hop}: give 1 or more frames; 8 is published")


def normalize_to_pm1(images: jax.Array) -> jax.Array:
    """Converts uint8 (..., 3) BGR to float32, RGB in [-1, 1]."""
    return images[..., ::-1].astype(jnp.float32) / 127.5 - 1


def image_grid(*rows: jax.Array, num_frames: int = 8) -> tuple[jax.Array, ...]:
    """Returns columns of a grid: frames of clips, the arrays of `rows` below one another.

    Args:
        *rows: (n, time, height, width, 3) each, RGB in [-1, 1].
        num_frames: columns at most, evenly spaced in time.

    Returns:
        Each (n * len(rows), height, width, 3), BGR in [0, 1].
    """
    stacked = jnp.stack(rows, axis=1)
    images = stacked.reshape(-1, *stacked.shape[2:])[..., ::-1] / 2 + 0.5
    time = images.shape[1]
    times = np.linspace(0, time - 1, min(time, num_frames)).round().astype(int)
    return tuple(images[:, t] for t in times)
