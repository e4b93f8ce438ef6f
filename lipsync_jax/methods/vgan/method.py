"""VGAN with sound, the baseline of "At a Glance" (Vondrick et al. 2016; Chen et al. 2018).

Noise, 0.64 s of sound and, unless `model.image_cond` is False, a still of the lips become 16
frames: a foreground that moves over a background. A discriminator of clips with their sound is the
whole loss, as published; the two terms of Vondrick et al. can be added.
"""

import jax
import jax.numpy as jnp
import ml_collections

from lipsync_jax import losses
from lipsync_jax.methods.base import (
    Arrays,
    Player,
    PlayerState,
    State,
    adam,
    fresh_state,
    global_norm,
)
from lipsync_jax.methods.common.lip_video_gan import ClipJudge, LipClips, Scene
from lipsync_jax.methods.vgan.model import NOISE, Layers, SpokenDiscriminator, SpokenGenerator
from lipsync_jax.types import Cards, Tree, Variables


def make(config: ml_collections.ConfigDict, cards: Cards) -> "VGAN":
    """The method of a config."""
    return VGAN(config, cards)


def network(config: ml_collections.ConfigDict) -> SpokenGenerator:
    """The generator that a config describes, a checkpoint's config too."""
    return SpokenGenerator(dtype=jnp.dtype(config.precision), **config.model)


class VGAN(LipClips):
    """Players: `generator` and `discriminator`."""

    noise_size = NOISE
    judge: ClipJudge

    def __init__(self, config: ml_collections.ConfigDict, cards: Cards) -> None:
        super().__init__(config, cards)
        judging = config.adversarial
        module = SpokenDiscriminator(dtype=jnp.dtype(config.precision), **judging.model)
        self.players = {
            "generator": Player(network(config), adam(config.optimiser)),
            "discriminator": Player(module, adam(judging.optimiser)),
        }
        self.judge = ClipJudge(self.players["discriminator"], judging)

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """See Method."""
        of_generator, of_discriminator = jax.random.split(key)
        few = self._scene({name: batch[name][:1] for name in ("still", "frames", "audio")})
        shown = {
            "generator": (of_generator, jnp.zeros((1, NOISE)), few.audio, few.still),
            "discriminator": (of_discriminator, few.frames, few.audio),
        }
        return fresh_state(
            key, {name: player.start(player.module.init(*shown[name]))
                  for name, player in self.players.items()}
        )  # fmt: skip

    def update(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """One step of the discriminator, then one of the generator on the same clips."""
        real = self._scene(batch)
        generator, before = self.players["generator"], state.players["generator"]
        noise = jax.random.normal(key, (len(real.still), NOISE))

        def animate(params: Tree) -> tuple[Layers, Tree]:
            return generator.train(params, before.batch_stats, noise, real.audio, real.still)

        drawn, pull, stats = jax.vjp(animate, before.params, has_aux=True)
        discriminator, judged = self.judge.learn(
            state.players["discriminator"], real, real._replace(frames=drawn.frames), key
        )

        def loss(drawn: Layers) -> tuple[jax.Array, Arrays]:
            return self._loss(discriminator, real, drawn, key)

        (value, terms), of_drawn = jax.value_and_grad(loss, has_aux=True)(drawn)
        (grads,) = pull(of_drawn)
        players = {
            "generator": generator.learn(before, grads, stats),
            "discriminator": discriminator,
        }
        scalars = {f"discriminator_{name}": value for name, value in judged.items()}
        scalars |= {"loss": value, **terms, "gradient_norm": global_norm(grads)}
        return state.replace_players(**players), scalars

    def draw(
        self, variables: Variables, still: jax.Array, audio: jax.Array, noise: jax.Array
    ) -> jax.Array:
        """See LipClips."""
        return self.players["generator"].module.apply(variables, noise, audio, still).frames

    def _loss(
        self, discriminator: PlayerState, real: Scene, drawn: Layers, key: jax.Array
    ) -> tuple[jax.Array, Arrays]:
        config = self.config
        footage = real._replace(frames=drawn.frames)
        terms = {
            "deceived": self.judge.deceived(discriminator, footage, key),
            "l1": losses.l1(drawn.frames, real.frames),
            "mask": jnp.mean(drawn.mask),
        }
        value = self.judge.weight * terms["deceived"] + config.mask_weight * terms["mask"]
        if config.first_frame_weight:
            terms["first_frame"] = losses.l1(drawn.frames[:, 0], real.frames[:, 0])
            value += config.first_frame_weight * terms["first_frame"]
        return value, terms
