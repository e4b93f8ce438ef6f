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
from lipsync_jax.methods.common.clip_examples import (
    NUM_SAMPLE_CLIPS,
    check_segment_hop,
    image_grid,
    normalize_to_pm1,
    sample_segment,
)
from lipsync_jax.methods.glance.autoencoder_model import VideoAutoencoder
from lipsync_jax.types import ModelCards, Tree


def make(config: ml_collections.ConfigDict, model_cards: ModelCards) -> "GlanceAutoencoder":
    """Returns the method of a config."""
    return GlanceAutoencoder(config, model_cards)


def network(config: ml_collections.ConfigDict) -> VideoAutoencoder:
    """Returns the autoencoder of a config, also of a checkpoint's config."""
    return VideoAutoencoder(dtype=jnp.dtype(config.precision), **config.model)


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
