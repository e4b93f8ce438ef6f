"""Lip Movements Generation at a Glance (Chen et al. 2018): lips of a clip, drawn all at once.

A still of the lips and 0.64 s of log-mel sound become 16 frames. Four terms make the loss (eq. 2):
how far changes of sound and picture correlate, absolute error, distance of codes of a frozen video
autoencoder, and what a discriminator of clips, sound and motion says. A term of weight 0 is left
out, and so are its networks; that is how the configs' variants are the paper's ablations.
"""

from collections.abc import Mapping
from typing import cast

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
from lipsync_jax.methods.glance import autoencoder_method
from lipsync_jax.methods.glance.model import (
    DerivativeEncoder,
    Discriminator,
    Generator,
    MotionEncoder,
)
from lipsync_jax.ops import optical_flow
from lipsync_jax.types import Cards, Tree, Variables


class StreamsJudge(ClipJudge):
    """The discriminator of clips, their sound and, where it has that stream, their flow."""

    call = "logits"

    def look(self, footage: Scene, key: jax.Array) -> tuple[jax.Array, ...]:
        """See Judge."""
        shown = super().look(footage, key)
        if self.player.module.motion != "flow":
            return shown
        assert footage.flow is not None  # `_with` computes it for this network
        return (*shown, footage.flow)


def make(config: ml_collections.ConfigDict, cards: Cards) -> "Glance":
    """The method of a config."""
    return Glance(config, cards)


def network(config: ml_collections.ConfigDict) -> Generator:
    """The generator that a config describes, a checkpoint's config too."""
    return Generator(dtype=jnp.dtype(config.precision), **config.model)


class Glance(LipClips):
    """Players: `generator`, and those of the terms whose weights are not 0.

    Of the correlation `sound_encoder` and `motion_encoder`, which learn with the generator; of the
    adversarial term `discriminator`; of the perceptual one the frozen `autoencoder`.
    """

    def __init__(self, config: ml_collections.ConfigDict, cards: Cards) -> None:
        super().__init__(config, cards)
        dtype = jnp.dtype(config.precision)
        self.players = {"generator": Player(network(config), adam(config.optimiser))}
        self.encoders: tuple[str, ...] = ()
        if config.correlation.weight:
            sound = DerivativeEncoder(
                config.correlation.width, dtype, derivative=config.correlation.derivative
            )
            for name, module in (("sound", sound), ("motion", MotionEncoder(dtype=dtype))):
                self.encoders += (f"{name}_encoder",)
                self.players[f"{name}_encoder"] = Player(module, adam(config.correlation.optimiser))
        if config.adversarial.weight:
            discriminator = Discriminator(dtype=dtype, **config.adversarial.model)
            player = Player(discriminator, adam(config.adversarial.optimiser))
            self.judge = StreamsJudge(player, config.adversarial)
            self.players["discriminator"] = player
        if "autoencoder" in cards:
            card = ml_collections.ConfigDict(cards["autoencoder"]["config"])
            self.players["autoencoder"] = Player(autoencoder_method.network(card))

    def check(self) -> None:
        """Refuses pictures of another size, and losses that lack what they need."""
        super().check()
        config, name = self.config, self.config.data.geometry
        if bool(config.perceptual_weight) != ("autoencoder" in self.cards):
            raise ValueError(
                f"config.perceptual_weight={config.perceptual_weight}, which needs "
                "config.frozen.autoencoder if it is not 0, and must not have it if it is"
            )
        if not config.perceptual_weight:
            return
        card = self.cards["autoencoder"]["config"]
        if card["method"] != "glance_autoencoder" or card["data"]["geometry"] != name:
            raise ValueError(
                f"{config.frozen.autoencoder.checkpoint} holds a {card['method']} of "
                f"{card['data']['geometry']}; config.frozen.autoencoder.checkpoint must be a run "
                f"of configs/autoencoder_method.py on {name}"
            )

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """See Method."""
        keys = dict(zip(self.players, jax.random.split(key, len(self.players)), strict=True))
        few = self._scene({name: batch[name][:1] for name in ("still", "frames", "audio")})
        drawn, generated = self.players["generator"].module.init_with_output(
            keys["generator"], few.still, few.audio
        )
        players = {"generator": self.players["generator"].start(generated)}
        for name, seen in zip(self.encoders, (drawn.heard, self._moving(few)), strict=False):
            variables = self.players[name].module.init(keys[name], seen)
            players[name] = self.players[name].start(variables)
        if self.judge:
            shown = self.judge.look(few, key)
            module = self.players["discriminator"].module
            variables = module.init(keys["discriminator"], *shown, method="logits")
            players["discriminator"] = self.players["discriminator"].start(variables)
        return fresh_state(key, players)

    def update(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """One step of the discriminator, then, on the same frames, one of all others (eq. 2)."""
        real = self._scene(batch)
        generator, before = self.players["generator"], state.players["generator"]

        def animate(params: Tree) -> tuple[tuple[Scene, jax.Array], Tree]:
            drawn, stats = generator.train(params, before.batch_stats, real.still, real.audio)
            return (self._with(real, drawn.frames), drawn.heard), stats

        (drawn, heard), pull, stats = jax.vjp(animate, before.params, has_aux=True)
        players: dict[str, PlayerState] = {}
        scalars: Arrays = {}
        if self.judge:
            players["discriminator"], judged = self.judge.learn(
                state.players["discriminator"], real, drawn, key
            )
            scalars |= {f"discriminator_{name}": value for name, value in judged.items()}

        def loss(drawn: Scene, heard: jax.Array, encoders: Tree) -> tuple[jax.Array, Tree]:
            return self._loss({**state.players, **players}, real, drawn, heard, encoders, key)

        encoders = {name: state.players[name].params for name in self.encoders}
        (value, (terms, encoder_stats)), (*of_drawn, of_encoders) = jax.value_and_grad(
            loss, argnums=(0, 1, 2), has_aux=True
        )(drawn, heard, encoders)
        (grads,) = pull(tuple(of_drawn))
        players["generator"] = generator.learn(before, grads, stats)
        for name in self.encoders:
            players[name] = self.players[name].learn(
                state.players[name], of_encoders[name], encoder_stats[name]
            )
        scalars |= {"loss": value, **terms, "gradient_norm": global_norm(grads)}
        return state.replace_players(**players), scalars

    def draw(
        self, variables: Variables, still: jax.Array, audio: jax.Array, noise: jax.Array
    ) -> jax.Array:
        """See LipClips."""
        del noise  # it has none
        return self.players["generator"].module.apply(variables, still, audio).frames

    def _scene(self, batch: Arrays) -> Scene:
        scene = super()._scene(batch)
        return self._with(scene, scene.frames)

    def _with(self, scene: Scene, frames: jax.Array) -> Scene:
        """The scene with other frames and their flow."""
        correlation = self.config.correlation
        by_judge = self.judge and self.judge.player.module.motion == "flow"
        if by_judge or (correlation.weight and correlation.derivative):
            return scene._replace(
                frames=frames, flow=optical_flow.of_frames(frames, self.config.flow)
            )
        return scene._replace(frames=frames)

    def _moving(self, scene: Scene) -> jax.Array:
        """What the motion encoder sees: flow beside the sound's changes, frames beside itself."""
        # Without encoders there may be no flow, and nobody looks.
        return cast(jax.Array, scene.flow) if self.config.correlation.derivative else scene.frames

    def _loss(
        self,
        players: Mapping[str, PlayerState],
        real: Scene,
        drawn: Scene,
        heard: jax.Array,
        encoders: Tree,
        key: jax.Array,
    ) -> tuple[jax.Array, Tree]:
        config = self.config
        terms = {"l1": losses.l1(drawn.frames, real.frames)}
        stats: dict[str, Tree] = {}
        value = config.pixel_weight * terms["l1"]
        if config.correlation.weight:
            of_real, of_drawn, stats = self._correlate(players, encoders, real, drawn, heard)
            terms |= {"correlation_of_real": of_real, "correlation_of_drawn": of_drawn}
            value += config.correlation.weight * (of_real + of_drawn) / 2
        if config.perceptual_weight:
            autoencoder = self.players["autoencoder"].module
            codes = [
                autoencoder.apply(players["autoencoder"].variables, frames)[1]
                for frames in (real.frames, drawn.frames)
            ]
            terms["perceptual"] = losses.mean_squared(*codes)
            value += config.perceptual_weight * terms["perceptual"]
        if self.judge:
            terms["deceived"] = self.judge.deceived(players["discriminator"], drawn, key)
            value += self.judge.weight * terms["deceived"]
        return value, (terms, stats)

    def _correlate(
        self,
        players: Mapping[str, PlayerState],
        encoders: Tree,
        real: Scene,
        drawn: Scene,
        heard: jax.Array,
    ) -> tuple[jax.Array, jax.Array, dict[str, Tree]]:
        """Eq. 1 of real and drawn frames, as the published code trains; and new statistics."""
        stats = {name: players[name].batch_stats for name in encoders}

        def encode(name: str, x: jax.Array) -> jax.Array:
            features, stats[name] = self.players[name].train(encoders[name], stats[name], x)
            return features

        sound_profile = encode("sound_encoder", heard)
        of_real, of_drawn = (
            losses.correlation(
                sound_profile,
                encode("motion_encoder", self._moving(scene)),
                self.config.correlation.profile,
            )
            for scene in (real, drawn)
        )
        return of_real, of_drawn, stats
