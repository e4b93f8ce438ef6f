"""VGAN with audio, the baseline of "At a Glance" (Vondrick et al. 2016; Chen et al. 2018).

Noise, 0.64 s of audio and, with `model.condition_on_image`, a reference image of the lips become 16
frames: a foreground that moves over a background. The loss is the adversarial loss against a
discriminator of clips with their audio, as published; `config.loss` adds the two terms of Vondrick
et al.
"""

import jax
import jax.numpy as jnp
import ml_collections

from lipsync_jax import losses
from lipsync_jax.methods.base import (
    Arrays,
    Network,
    NetworkState,
    State,
    global_norm,
    init_train_state,
    make_optimizer,
)
from lipsync_jax.methods.common.lip_video_gan import (
    ConditionalClipDiscriminatorLoss,
    FixedLengthClipMethod,
    LipClipBatch,
)
from lipsync_jax.methods.vgan.model import (
    NOISE_SIZE,
    AudioConditionedDiscriminator,
    AudioConditionedGenerator,
    TwoStreamOutput,
)
from lipsync_jax.types import ModelCards, Tree, Variables


def make(config: ml_collections.ConfigDict, model_cards: ModelCards) -> "VGAN":
    """Returns the method of a config."""
    return VGAN(config, model_cards)


def network(config: ml_collections.ConfigDict) -> AudioConditionedGenerator:
    """Returns the generator of a config, also of a checkpoint's config."""
    return AudioConditionedGenerator(dtype=jnp.dtype(config.precision), **config.model)


class VGAN(FixedLengthClipMethod):
    """Networks: `generator` and `discriminator`."""

    noise_size = NOISE_SIZE
    discriminator_loss: ConditionalClipDiscriminatorLoss

    def __init__(self, config: ml_collections.ConfigDict, model_cards: ModelCards) -> None:
        super().__init__(config, model_cards)
        discriminator_config = config.discriminators.clip
        module = AudioConditionedDiscriminator(
            dtype=jnp.dtype(config.precision), **discriminator_config.model
        )
        self.networks = {
            "generator": Network(network(config), make_optimizer(config.optimizer)),
            "discriminator": Network(module, make_optimizer(discriminator_config.optimizer)),
        }
        self.discriminator_loss = ConditionalClipDiscriminatorLoss(
            self.networks["discriminator"], discriminator_config
        )

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """See Method."""
        generator_key, discriminator_key = jax.random.split(key)
        clips = self._first_clips(batch, 1)
        inputs = {
            "generator": (generator_key, jnp.zeros((1, NOISE_SIZE)), clips.audio, clips.reference),
            "discriminator": (discriminator_key, clips.frames, clips.audio),
        }
        networks = {
            name: network.init_state(network.module.init(*inputs[name]))
            for name, network in self.networks.items()
        }
        return init_train_state(key, networks)

    def train_step(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """Takes a step of the discriminator, then, on the same clips, one of the generator."""
        real = self._clip_batch(batch)
        generator, before = self.networks["generator"], state.networks["generator"]
        noise = jax.random.normal(key, (len(real.reference), NOISE_SIZE))

        def generate(params: Tree) -> tuple[TwoStreamOutput, Tree]:
            return generator.apply_train(
                params, before.batch_stats, noise, real.audio, real.reference
            )

        generated, generator_vjp, stats = jax.vjp(generate, before.params, has_aux=True)
        discriminator, metrics = self.discriminator_loss.discriminator_step(
            state.networks["discriminator"], real, real._replace(frames=generated.frames), key
        )

        def loss(generated: TwoStreamOutput) -> tuple[jax.Array, Arrays]:
            return self._loss(discriminator, real, generated, key)

        (value, terms), output_grads = jax.value_and_grad(loss, has_aux=True)(generated)
        (grads,) = generator_vjp(output_grads)
        networks = {
            "generator": generator.apply_gradients(before, grads, stats),
            "discriminator": discriminator,
        }
        scalars = {f"discriminator/{name}": value for name, value in metrics.items()}
        scalars |= {"loss": value, **terms, "grad_norm": global_norm(grads)}
        return state.next_step(**networks), scalars

    def generate_frames(
        self, variables: Variables, reference: jax.Array, audio: jax.Array, noise: jax.Array
    ) -> jax.Array:
        """See FixedLengthClipMethod."""
        return self.networks["generator"].module.apply(variables, noise, audio, reference).frames

    def _loss(
        self,
        discriminator: NetworkState,
        real: LipClipBatch,
        generated: TwoStreamOutput,
        key: jax.Array,
    ) -> tuple[jax.Array, Arrays]:
        config = self.config
        generated_clips = real._replace(frames=generated.frames)
        terms = {
            "gen_adv_loss": self.discriminator_loss.generator_loss(
                discriminator, generated_clips, key
            ),
            "l1": losses.l1(generated.frames, real.frames),
            "mask_mean": jnp.mean(generated.mask),
        }
        value = self.discriminator_loss.weight * terms["gen_adv_loss"]
        value += config.loss.mask * terms["mask_mean"]
        if config.loss.first_frame:
            terms["first_frame"] = losses.l1(generated.frames[:, 0], real.frames[:, 0])
            value += config.loss.first_frame * terms["first_frame"]
        return value, terms
