"""The Speech2Vid baseline of "At a Glance" (Chen et al. 2018, table 3, "Chung"), on crops of lips.

A reference image of the lips and 0.64 s of log-mel audio become 16 frames, the channels of one
image. The loss is the mean absolute error, as in the published code.
"""

import jax
import jax.numpy as jnp
import ml_collections

from lipsync_jax import losses
from lipsync_jax.methods.base import (
    Arrays,
    Network,
    State,
    global_norm,
    init_train_state,
    make_optimizer,
)
from lipsync_jax.methods.common.lip_video_gan import FixedLengthClipMethod
from lipsync_jax.methods.speech2vid.model import LipClipGenerator
from lipsync_jax.types import ModelCards, Tree, Variables


def make(config: ml_collections.ConfigDict, model_cards: ModelCards) -> "Speech2VidLips":
    """Returns the method of a config."""
    return Speech2VidLips(config, model_cards)


def network(config: ml_collections.ConfigDict) -> LipClipGenerator:
    """Returns the generator of a config, also of a checkpoint's config."""
    return LipClipGenerator(dtype=jnp.dtype(config.precision), **config.model)


class Speech2VidLips(FixedLengthClipMethod):
    """One network, `generator`."""

    def __init__(self, config: ml_collections.ConfigDict, model_cards: ModelCards) -> None:
        super().__init__(config, model_cards)
        self.networks = {"generator": Network(network(config), make_optimizer(config.optimizer))}

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """See Method."""
        generator = self.networks["generator"]
        clips = self._first_clips(batch, 1)
        variables = generator.module.init(key, clips.reference, clips.audio)
        return init_train_state(key, {"generator": generator.init_state(variables)})

    def train_step(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """Takes a step on the mean absolute error."""
        del key  # the step is deterministic
        real = self._clip_batch(batch)
        generator, before = self.networks["generator"], state.networks["generator"]

        def loss(params: Tree) -> tuple[jax.Array, Tree]:
            frames, stats = generator.apply_train(
                params, before.batch_stats, real.reference, real.audio
            )
            return losses.l1(frames, real.frames), stats

        (value, stats), grads = jax.value_and_grad(loss, has_aux=True)(before.params)
        after = generator.apply_gradients(before, grads, stats)
        return state.next_step(generator=after), {"loss": value, "grad_norm": global_norm(grads)}

    def generate_frames(
        self, variables: Variables, reference: jax.Array, audio: jax.Array, noise: jax.Array
    ) -> jax.Array:
        """See FixedLengthClipMethod."""
        del noise  # the generator takes none
        return self.networks["generator"].module.apply(variables, reference, audio)
