"""The video autoencoder of the perceptual loss of "At a Glance" (Chen et al. 2018, section 4.1).

The autoencoder is trained from scratch to reconstruct frames; `methods.glance` then uses it frozen.
"""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax import losses
from lipsync_jax.data.clip import Clip, decode_frames
from lipsync_jax.methods.base import (
    Arrays,
    Method,
    Network,
    State,
    global_norm,
    init_train_state,
    make_optimizer,
)
from lipsync_jax.methods.glance.autoencoder_model import VideoAutoencoder
from lipsync_jax.methods.glance.model import FRAMES
from lipsync_jax.types import ModelCards, Tree

NUM_SAMPLE_CLIPS, NUM_SAMPLE_FRAMES = 4, 8


def make(config: ml_collections.ConfigDict, model_cards: ModelCards) -> "GlanceAutoencoder":
    """Returns the method of a config."""
    return GlanceAutoencoder(config, model_cards)


def network(config: ml_collections.ConfigDict) -> VideoAutoencoder:
    """Returns the autoencoder of a config, also of a checkpoint's config."""
    return VideoAutoencoder(dtype=jnp.dtype(config.precision), **config.model)


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


def image_grid(*rows: jax.Array) -> tuple[jax.Array, ...]:
    """Returns columns of a grid: frames of a few clips, the arrays of `rows` below one another.

    Args:
        *rows: (n, time, height, width, 3) each, RGB in [-1, 1].
    """
    stacked = jnp.stack([row[:NUM_SAMPLE_CLIPS] for row in rows], axis=1)
    images = stacked.reshape(-1, *stacked.shape[2:])[..., ::-1] / 2 + 0.5
    times = np.linspace(0, images.shape[1] - 1, NUM_SAMPLE_FRAMES).round().astype(int)
    return tuple(images[:, t] for t in times)


class GlanceAutoencoder(Method):
    """Network: `autoencoder`."""

    best_metric = ("psnr", "max")
    sample_titles = ("each clip: real above reconstructed, time from left to right",)

    def __init__(self, config: ml_collections.ConfigDict, model_cards: ModelCards) -> None:
        super().__init__(config, model_cards)
        self.networks = {"autoencoder": Network(network(config), make_optimizer(config.optimizer))}

    def validate_config(self) -> None:
        """Raises ValueError for windows without a distance."""
        check_segment_hop(self.config.segment_hop)

    def make_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Samples frames of a clip: uint8 (16, height, width, 3), BGR."""
        segment = sample_segment(clip, rng, self.config.segment_hop)
        return {"frames": decode_frames(clip, segment)}

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """See Method."""
        autoencoder = self.networks["autoencoder"]
        variables = autoencoder.module.init(key, normalize_to_pm1(batch["frames"][:1, :1]))
        return init_train_state(key, {"autoencoder": autoencoder.init_state(variables)})

    def train_step(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """Takes a step on the mean squared error."""
        del key  # nothing here is random
        autoencoder, before = self.networks["autoencoder"], state.networks["autoencoder"]
        frames = normalize_to_pm1(batch["frames"])

        def loss(params: Tree) -> tuple[jax.Array, Tree]:
            (reconstructed, _), stats = autoencoder.apply_train(params, before.batch_stats, frames)
            return losses.mse(reconstructed, frames), stats

        (value, stats), grads = jax.value_and_grad(loss, has_aux=True)(before.params)
        after = autoencoder.apply_gradients(before, grads, stats)
        return state.next_step(autoencoder=after), {
            "loss": value,
            "grad_norm": global_norm(grads),
        }

    def eval_step(self, state: State, batch: Arrays) -> Arrays:
        """Computes the PSNR of each clip over RGB, decibels; higher is better."""
        frames = normalize_to_pm1(batch["frames"])
        error = jnp.mean(((self._reconstruct(state, frames) - frames) / 2) ** 2, axis=(1, 2, 3, 4))
        return {"psnr": -10 * jnp.log10(error)}

    def sample_images(self, state: State, batch: Arrays) -> tuple[jax.Array, ...]:
        """Returns frames of a few clips, real above reconstructed."""
        frames = normalize_to_pm1(batch["frames"][:NUM_SAMPLE_CLIPS])
        return image_grid(frames, self._reconstruct(state, frames))

    def _reconstruct(self, state: State, frames: jax.Array) -> jax.Array:
        network_state = state.networks["autoencoder"]
        return self.networks["autoencoder"].module.apply(network_state.variables, frames)[0]
