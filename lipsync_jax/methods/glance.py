"""Lip Movements Generation at a Glance (Chen et al. 2018): lips of a clip, drawn all at once.

A still of the lips and 0.64 s of log-mel sound become 16 frames. Four terms make the loss (eq. 2):
how far changes of sound and picture correlate, absolute error, distance of codes of a frozen video
autoencoder, and what a discriminator of clips, sound and motion says. A term of weight 0 is left
out, and so are its networks; that is how the configs' variants are the paper's ablations.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax import audio, flow, losses
from lipsync_jax.data.audio_windows import log_mel_windows
from lipsync_jax.data.records import GEOMETRIES, Clip, decode_frames
from lipsync_jax.methods import glance_autoencoder
from lipsync_jax.methods.base import (
    Arrays,
    Method,
    Player,
    State,
    adam,
    fresh_state,
    global_norm,
)
from lipsync_jax.methods.glance_autoencoder import SHEET_CLIPS, as_seen, sheet, stretch
from lipsync_jax.methods.judges import Judge
from lipsync_jax.methods.recurrent_gan import motion_and_correlation, psnr
from lipsync_jax.models.glance import (
    FRAMES,
    MEL_BINS,
    ROWS,
    SIZE,
    DerivativeEncoder,
    Discriminator,
    Generator,
    MotionEncoder,
)

HOP = 8  # frames from one window of a long clip to the next


class Scene(NamedTuple):
    """Clips as networks see them.

    Attributes:
        still: (n, 64, 64, 3), RGB in [-1, 1]: whose lips.
        frames: (n, 16, 64, 64, 3), of the same kind.
        audio: (n, 64, 128), decibels as the config scales them.
        flow: (n, 15, 16, 16, 2), of the frames; None where no network looks at it.
    """

    still: jax.Array
    frames: jax.Array
    audio: jax.Array
    flow: jax.Array | None

    @property
    def mask(self) -> jax.Array:
        """Which frames are valid, (n, time): all."""
        return jnp.ones(self.frames.shape[:2], bool)


class ClipJudge(Judge):
    """The discriminator (eq. 4): it refuses drawn clips, and real ones with another clip's sound.

    Args:
        player: see Judge.
        config: with `weight`, and `drawn_share` and `mismatched_share`, of its own loss.
    """

    call = "logits"

    def __init__(self, player: Player, config: ml_collections.ConfigDict):
        super().__init__(player, config.weight)
        self.config = config

    def look(self, footage, key):
        """See Judge."""
        del key
        shown = footage.frames, footage.audio
        return (*shown, footage.flow) if self.player.module.motion == "flow" else shown

    def evidence(self, real, drawn, key):
        """See Judge."""
        wrong = real._replace(audio=jnp.roll(real.audio, 1, axis=0))
        return {
            "real": (1.0, True, self.look(real, key)),
            "wrong_sound": (self.config.mismatched_share, False, self.look(wrong, key)),
            "drawn": (self.config.drawn_share, False, self.look(drawn, key)),
        }


def make(config: ml_collections.ConfigDict, cards: Mapping[str, Any]) -> "Glance":
    """The method of a config."""
    return Glance(config, cards)


def network(config: ml_collections.ConfigDict) -> Generator:
    """The generator that a config describes, a checkpoint's config too."""
    return Generator(dtype=jnp.dtype(config.precision), **config.model)


class Glance(Method):
    """Players: `generator`, and those of the terms whose weights are not 0.

    Of the correlation `sound_encoder` and `motion_encoder`, which learn with the generator; of the
    adversarial term `discriminator`; of the perceptual one the frozen `autoencoder`.
    """

    best = ("psnr", 1)

    def __init__(self, config, cards):
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
        self.judge = None
        if config.adversarial.weight:
            module = Discriminator(dtype=dtype, **config.adversarial.model)
            player = Player(module, adam(config.adversarial.optimiser))
            self.judge = ClipJudge(player, config.adversarial)
            self.players["discriminator"] = player
        if "autoencoder" in cards:
            card = ml_collections.ConfigDict(cards["autoencoder"]["config"])
            self.players["autoencoder"] = Player(glance_autoencoder.network(card))

    def check(self):
        """Refuses pictures of another size, and losses that lack what they need."""
        config, name = self.config, self.config.data.geometry
        geometry = GEOMETRIES[name]
        if (geometry.height, geometry.width) != (SIZE, SIZE):
            raise ValueError(
                f"config.data.geometry={name} has pictures of {geometry.height}x{geometry.width}; "
                f"At a Glance draws {SIZE}x{SIZE}, choose lips64"
            )
        if self.judge and config.data.batch_size < 2:
            raise ValueError(
                "config.adversarial needs other clips' sound; set config.data.batch_size to 2 or "
                "more"
            )
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
                f"of configs/glance_autoencoder.py on {name}"
            )

    def example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Sixteen frames of a clip, their sound, and any frame of it.

        Returns:
            still: uint8 (64, 64, 3), BGR.
            frames: uint8 (16, 64, 64, 3), BGR.
            audio: float32 (64, 128), dB, see `data.audio_windows.log_mel_windows`.
        """
        frames = stretch(clip, rng)
        return {
            "still": decode_frames(clip, [int(rng.integers(len(clip.frames)))])[0],
            "frames": decode_frames(clip, frames),
            "audio": sound(clip, frames),
        }

    def init(self, key, batch):
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

    def update(self, state: State, batch: Arrays, key: jax.Array):
        """One step of the discriminator, then, on the same frames, one of all others (eq. 2)."""
        real = self._scene(batch)
        generator, before = self.players["generator"], state.players["generator"]

        def animate(params):
            variables = {"params": params, "batch_stats": before.batch_stats}
            drawn, new = generator.module.apply(
                variables, real.still, real.audio, train=True, mutable=["batch_stats"]
            )
            return (self._with(real, drawn.frames), drawn.heard), new["batch_stats"]

        (drawn, heard), pull, stats = jax.vjp(animate, before.params, has_aux=True)
        players, scalars = {}, {}
        if self.judge:
            players["discriminator"], judged = self.judge.learn(
                state.players["discriminator"], real, drawn, key
            )
            scalars |= {f"discriminator_{name}": value for name, value in judged.items()}

        def loss(drawn, heard, encoders):
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

    def animate(self, variables: Mapping[str, Any], still: jax.Array, audio: jax.Array):
        """Draws clips of any length in eval mode: windows of 16 frames every 8, cross-faded.

        Args:
            variables: of the generator.
            still: (n, 64, 64, 3), RGB in [-1, 1].
            audio: (n, 4 * time, 128), dB as the config scales them.

        Returns:
            float32 (n, time, 64, 64, 3), RGB in [-1, 1].
        """
        n, rows = audio.shape[:2]
        starts = window_starts(rows // ROWS)
        short = max(0, FRAMES * ROWS - rows)
        audio = jnp.pad(audio, ((0, 0), (0, short), (0, 0)), mode="edge")
        heard = jnp.stack([audio[:, ROWS * s : ROWS * (s + FRAMES)] for s in starts], axis=1)
        drawn = self.players["generator"].module.apply(
            variables,
            jnp.repeat(still, len(starts), axis=0),
            heard.reshape(-1, FRAMES * ROWS, MEL_BINS),
        )
        return cross_fade(drawn.frames.reshape(n, len(starts), FRAMES, SIZE, SIZE, 3), starts)[
            :, : rows // ROWS
        ]

    def measure(self, state: State, batch: Arrays) -> Arrays:
        """Figures of each clip, for what is drawn and for the still instead of every frame.

        `psnr` is of luminance, `l1` the mean absolute error, values in 0..1. `motion` says how much
        pixels move, as a share of how much they really do; `motion_correlation` is that of both
        motions, 0 where the drawn one has nothing to do with the sound.
        """
        real = self._scene(batch)
        drawn = self.animate(state.players["generator"].variables, real.still, real.audio)
        still = jnp.broadcast_to(real.still[:, None], real.frames.shape)
        figures = {}
        for suffix, frames in (("", drawn), ("_of_still", still)):
            figures["psnr" + suffix] = psnr(frames, real, 0)
            error = jnp.abs(frames - real.frames) / 2
            figures["l1" + suffix] = error.mean(axis=(1, 2, 3, 4))
        motion, correlation = motion_and_correlation(drawn, real.frames, real.mask)
        return {**figures, "motion": motion, "motion_correlation": correlation}

    def pictures(self, state: State, batch: Arrays):
        """Moments of a few clips, real frames above those drawn."""
        few = {name: batch[name][:SHEET_CLIPS] for name in ("still", "frames", "audio")}
        real = self._scene(few)
        drawn = self.animate(state.players["generator"].variables, real.still, real.audio)
        return sheet(real.frames, drawn)

    def _scene(self, batch: Arrays) -> Scene:
        heard = (batch["audio"] - self.config.sound_mean) / self.config.sound_scale
        scene = Scene(as_seen(batch["still"]), as_seen(batch["frames"]), heard, None)
        return self._with(scene, scene.frames)

    def _with(self, scene: Scene, frames: jax.Array) -> Scene:
        """The scene with other frames and their flow."""
        correlation = self.config.correlation
        by_judge = self.judge and self.judge.player.module.motion == "flow"
        if by_judge or (correlation.weight and correlation.derivative):
            return scene._replace(frames=frames, flow=flow.of_frames(frames, self.config.flow))
        return scene._replace(frames=frames)

    def _moving(self, scene: Scene) -> jax.Array:
        """What the motion encoder sees: flow beside the sound's changes, frames beside itself."""
        return scene.flow if self.config.correlation.derivative else scene.frames

    def _loss(self, players, real: Scene, drawn: Scene, heard, encoders, key):
        config = self.config
        terms, stats = {"l1": losses.l1(drawn.frames, real.frames)}, {}
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

    def _correlate(self, players, encoders, real: Scene, drawn: Scene, heard: jax.Array):
        """Eq. 1 of real and drawn frames, as the published code trains; and new statistics."""
        stats = {name: players[name].batch_stats for name in encoders}

        def encode(name, x):
            variables = {"params": encoders[name], "batch_stats": stats[name]}
            module = self.players[name].module
            features, new = module.apply(variables, x, train=True, mutable=["batch_stats"])
            stats[name] = new.get("batch_stats", stats[name])
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


def sound(clip: Clip, frames: range) -> np.ndarray:
    """The sound of some frames: float32 (4 * frames, 128), dB; see `log_mel_windows`."""
    samples = np.asarray(clip.audio, np.float32) / 32768
    samples = audio.resample(samples, clip.audio_rate, audio.LOG_MEL_RATE)
    return log_mel_windows(samples, frames, clip.frame_rate).reshape(-1, MEL_BINS)


def window_starts(frames: int) -> tuple[int, ...]:
    """First frames of the windows that cover a clip, 8 apart; the last one ends with the clip."""
    last = max(0, frames - FRAMES)
    return (*range(0, last, HOP), last)


def cross_fade(windows: jax.Array, starts: tuple[int, ...]) -> jax.Array:
    """Overlapping windows -> a clip; a frame's weights rise and fall evenly along each window.

    Args:
        windows: (n, windows, 16, ...).
        starts: the first frame of each, of `window_starts`.

    Returns:
        (n, starts[-1] + 16, ...).
    """
    place = np.arange(FRAMES) + 0.5
    weights = np.zeros((len(starts), FRAMES, starts[-1] + FRAMES), np.float32)
    for window, start in enumerate(starts):
        weights[window, range(FRAMES), range(start, start + FRAMES)] = np.minimum(
            place, FRAMES - place
        )
    weights /= weights.sum(axis=(0, 1))
    return jnp.einsum("wft,nwf...->nt...", weights, windows, precision="highest")
