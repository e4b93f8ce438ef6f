"""What temporal GANs have in common: a still and a voice in, a talking face out, judged all over.

Clips of any length train together: a batch is filled up to one of `config.lengths`, and frames
behind a clip's end enter no loss, no batch statistic and no recurrent state. Papers add how a clip
sounds to their networks and who judges (`methods.temporal_gan`, `methods.jain`).
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax.data.clip import GEOMETRIES, Clip, decode_frames
from lipsync_jax.data.collate import stack_padded
from lipsync_jax.methods.base import (
    Arrays,
    Method,
    Player,
    PlayerState,
    State,
    adam,
    fresh_state,
    global_norm,
)
from lipsync_jax.methods.common.discriminators import Footage, Judge
from lipsync_jax.methods.common.validation_metrics import (
    motion_and_correlation,
    over_time,
    per_clip,
    psnr,
)
from lipsync_jax.methods.vougioukas.model import SNIPPET
from lipsync_jax.types import Argument, Cards, Tree, Variables

# Rows and columns around the mouth, as shares of an aligned picture.
MOUTH_ROWS, MOUTH_COLUMNS = (0.58, 0.84), (0.27, 0.77)
SHEET_CLIPS, SHEET_FRAMES = 3, 15
STILL_OF = ("stretch", "clip")


class RecurrentGAN(Method):
    """Players: `generator`, and `<name>_discriminator` for each entry of `config.judges`.

    Subclasses fill in `kinds` and `sound`.

    Attributes:
        judges: player -> its judge.
        kinds: name in config.judges -> its network, and how that is shown footage.
    """

    best = ("psnr_lower_half", 1)
    kinds: ClassVar[Mapping[str, tuple[type[nn.Module], type[Judge]]]]

    def __init__(
        self, config: ml_collections.ConfigDict, cards: Cards, generator: nn.Module
    ) -> None:
        super().__init__(config, cards)
        self.players = {"generator": Player(generator, adam(config.optimiser))}
        self.judges: dict[str, Judge] = {}
        for name, judge in config.judges.items():
            self.judges[f"{name}_discriminator"] = self._judge(name, judge)
        self.players |= {name: judge.player for name, judge in self.judges.items()}

    def sound(self, clip: Clip, frames: range) -> np.ndarray:
        """What the networks hear at some frames, counted at `config.frame_rate`: (frames, ...)."""
        raise NotImplementedError

    def discriminator(self, network: type[nn.Module], fields: Mapping[str, Argument]) -> nn.Module:
        """One of the networks in `kinds`, with the fields that the config gives."""
        return network(dtype=jnp.dtype(self.config.precision), **fields)

    def check(self) -> None:
        """Refuses pictures of another size than the network's, and lengths that hold nothing."""
        geometry = GEOMETRIES[self.config.data.geometry]
        size = tuple(self.config.model.image_size)
        if size != (geometry.height, geometry.width):
            raise ValueError(
                f"config.model.image_size={size} (height, width) is not that of config.data."
                f"geometry={self.config.data.geometry}, {geometry.height}x{geometry.width}"
            )
        if self.config.still_of not in STILL_OF:
            raise ValueError(
                f"config.still_of={self.config.still_of!r}; choose one of {', '.join(STILL_OF)}"
            )
        shortest, longest = self.config.shortest, self.config.longest
        if not SNIPPET <= shortest <= longest:
            raise ValueError(
                f"config.shortest={shortest} must lie between {SNIPPET} frames and "
                f"config.longest={longest}"
            )
        wanted, room = max(longest, self.config.data.validation_frames), max(self.config.lengths)
        if wanted > room:
            raise ValueError(
                f"clips of {wanted} frames (config.longest, config.data.validation_frames) fit "
                f"none of config.lengths={tuple(self.config.lengths)}; add {wanted}"
            )

    def example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """A stretch of a clip: `config.shortest` to `config.longest` frames, or all it has.

        Returns:
            still: uint8 (height, width, 3), BGR: the first of these frames, or of all the clip
                has, see `config.still_of`.
            frames: uint8 (frames, height, width, 3), BGR.
            audio: float32 (frames, ...), see `sound`.
        """
        total = self._frames_of(clip)
        high = min(self.config.longest, total)
        count = int(rng.integers(min(self.config.shortest, high), high + 1))
        start = int(rng.integers(total - count + 1))
        made = self._stretch(clip, range(start, start + count))
        if self.config.mirror and rng.random() < 0.5:
            for name in ("still", "frames"):
                made[name] = np.flip(made[name], axis=-2)
        return made

    def validation_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """A clip from its beginning, up to `config.data.validation_frames`; see `example`."""
        del rng
        count = min(self._frames_of(clip), self.config.data.validation_frames)
        return self._stretch(clip, range(count))

    def collate(self, examples: Sequence[Arrays]) -> Arrays:
        """Fills the examples up to one of `config.lengths`; adds `mask`, bool (n, time)."""
        lengths = tuple(self.config.lengths)
        if jax.process_count() > 1:  # hosts see different clips, but must agree on a shape
            lengths = (max(lengths),)
        return stack_padded(examples, ("frames", "audio"), lengths)

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """See Method."""
        keys = jax.random.split(key, 1 + len(self.judges))
        first = {name: batch[name][:1, :SNIPPET] for name in ("frames", "audio", "mask")}
        few = footage({**first, "still": batch["still"][:1]})
        generator, noise = self.players["generator"], self.noise(keys[0], few, 0.0)
        variables = generator.module.init(keys[0], few.still, few.audio, noise)
        players = {"generator": generator.start(variables)}
        for (name, judge), own in zip(self.judges.items(), keys[1:], strict=True):
            players[name] = judge.player.start(judge.player.module.init(own, *judge.look(few, own)))
        return fresh_state(key, players, judged=self.config.judged_from <= 0)

    def update(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """One step of each judge, then, on the same frames, one of the generator against them.

        Judges rest until `steer` wakes them.
        """
        real = footage(batch)
        noise_key, *own_keys = jax.random.split(key, 1 + len(self.judges))
        keys = dict(zip(self.judges, own_keys, strict=True))
        generator, before = self.players["generator"], state.players["generator"]
        noise = self.noise(noise_key, real, self.config.noise_std)

        def animate(params: Tree) -> tuple[jax.Array, Tree]:
            (_, frames), stats = generator.train(
                params, before.batch_stats, real.still, real.audio, noise, mask=real.mask
            )
            return frames, stats

        frames, pull, stats = jax.vjp(animate, before.params, has_aux=True)
        players: dict[str, PlayerState] = {}
        scalars: Arrays = {}
        for name in self.judges:
            players[name], judged = self._learn(name, state, real, frames, keys[name])
            scalars |= {f"{name}_{figure}": value for figure, value in judged.items()}

        def loss(frames: jax.Array) -> tuple[jax.Array, Arrays]:
            drawn = real._replace(frames=frames)
            weights = self.config.upper_half_weight, self.config.mouth_weight
            terms = {"l1": reconstruction(drawn, real, *weights)}
            value = self.config.l1_weight * terms["l1"]
            for name, judge in self.judges.items():
                terms[f"{name}_deceived"] = self._if_judged(
                    state,
                    functools.partial(judge.deceived, players[name], key=keys[name]),
                    lambda drawn: jnp.zeros((), drawn.frames.dtype),
                    drawn,
                )
                value += judge.weight * terms[f"{name}_deceived"]
            return value, terms

        (value, terms), of_frames = jax.value_and_grad(loss, has_aux=True)(frames)
        (grads,) = pull(of_frames)
        players["generator"] = generator.learn(before, grads, stats)
        scalars |= {"loss": value, **terms, "gradient_norm": global_norm(grads)}
        return state.replace_players(**players), scalars

    def steer(
        self, schedule: Mapping[str, float], scalars: Mapping[str, float]
    ) -> dict[str, float]:
        """Wakes the judges, for good, once validation shows lips that move as the real ones do."""
        if scalars["mouth_correlation"] < self.config.judged_from:
            return dict(schedule)
        return {**schedule, "judged": 1.0}

    def _learn(
        self, name: str, state: State, real: Footage, frames: jax.Array, key: jax.Array
    ) -> tuple[PlayerState, Arrays]:
        """A judge's step; while it rests, its state as it was and zeros for figures."""
        judge, before = self.judges[name], state.players[name]

        def awake(frames: jax.Array) -> tuple[PlayerState, Arrays]:
            return judge.learn(before, real, real._replace(frames=frames), key)

        def asleep(frames: jax.Array) -> tuple[PlayerState, Arrays]:
            _, figures = jax.eval_shape(awake, frames)
            return before, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), figures)

        return self._if_judged(state, awake, asleep, frames)

    def _if_judged(
        self,
        state: State,
        awake: Callable[[Tree], Tree],
        asleep: Callable[[Tree], Tree],
        operand: Tree,
    ) -> Tree:
        if self.config.judged_from <= 0:
            return awake(operand)
        return jax.lax.cond(state.schedule["judged"] > 0, awake, asleep, operand)

    def noise(self, key: jax.Array, clips: Footage, std: float) -> jax.Array:
        """Normal noise (n, time, noise_size); a frame's does not depend on how many follow."""
        n, time = clips.mask.shape
        shape = (n, self.players["generator"].module.noise_size)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(time))
        return std * jax.vmap(lambda key: jax.random.normal(key, shape), out_axes=1)(keys)

    def animate(self, variables: Variables, clips: Footage) -> jax.Array:
        """Draws clips in eval mode, with the same noise at every call.

        Args:
            variables: of the generator.
            clips: their frames are not looked at.

        Returns:
            float32 (n, time, height, width, 3), RGB in [-1, 1].
        """
        noise = self.noise(jax.random.key(0), clips, self.config.sample_noise_std)
        inputs = clips.still, clips.audio, noise
        return self.players["generator"].module.apply(variables, *inputs, mask=clips.mask)[1]

    def measure(self, state: State, batch: Arrays) -> Arrays:
        """Figures of each clip, for what is drawn and for answers that need no ear.

        PSNR is of luminance, its mean square error that of all frames of the clip. Errors around
        the mouth are mean absolute ones, values in 0..1. `mouth_motion` says how much the mouth's
        pixels move, as a share of how much they really do; `mouth_correlation` is that of both
        motions, 0 where the drawn one has nothing to do with the sound.
        """
        real = footage(batch)
        drawn = self.animate(state.players["generator"].variables, real)
        still = jnp.broadcast_to(real.still[:, None], real.frames.shape)
        mean = jnp.broadcast_to(over_time(real.frames, real.mask)[:, None], real.frames.shape)
        figures = {}
        for suffix, frames in (("", drawn), ("_of_still", still), ("_of_mean", mean)):
            figures["psnr" + suffix] = psnr(frames, real.frames, real.mask)
            half = frames.shape[2] // 2
            figures["psnr_lower_half" + suffix] = psnr(frames, real.frames, real.mask, half)
            error = jnp.abs(_mouth(frames) - _mouth(real.frames)) / 2
            figures["mouth_error" + suffix] = per_clip(error, real.mask)
        motion, correlation = motion_and_correlation(_mouth(drawn), _mouth(real.frames), real.mask)
        return {**figures, "mouth_motion": motion, "mouth_correlation": correlation}

    def pictures(self, state: State, batch: Arrays) -> tuple[jax.Array, ...]:
        """The still, then moments of a clip; real frames above the drawn ones, a few clips."""
        real = footage({name: values[:SHEET_CLIPS] for name, values in batch.items()})
        drawn = self.animate(state.players["generator"].variables, real)
        both = jnp.stack([real.frames, drawn], axis=1)
        both = both.reshape(-1, *real.frames.shape[1:])[..., ::-1] / 2 + 0.5
        time = both.shape[1]
        moments = np.linspace(0, time - 1, min(time, SHEET_FRAMES)).round().astype(int)
        still = jnp.repeat(real.still, 2, axis=0)[..., ::-1] / 2 + 0.5
        return still, *(both[:, t] for t in moments)

    def _judge(self, name: str, config: ml_collections.ConfigDict) -> Judge:
        if name not in self.kinds:
            raise ValueError(
                f"config.judges.{name}: {self.config.method} has none of that name; choose from "
                f"{', '.join(self.kinds)}"
            )
        network, judge = self.kinds[name]
        player = Player(self.discriminator(network, config.model), adam(config.optimiser))
        samples = {"samples": config.samples} if "samples" in config else {}
        return judge(player, config.weight, **samples)

    def _frames_of(self, clip: Clip) -> int:
        total = int(clip.duration * Fraction(self.config.frame_rate))
        if total < SNIPPET:
            raise ValueError(
                f"it has {total} frames at {self.config.frame_rate} a second, fewer than {SNIPPET}"
            )
        return total

    def _stretch(self, clip: Clip, frames: range) -> Arrays:
        # The frame on screen when the network's own would be shown.
        shown = [int(t * clip.frame_rate / Fraction(self.config.frame_rate)) for t in frames]
        still = 0 if self.config.still_of == "clip" else shown[0]
        *drawn, still = decode_frames(clip, [*shown, still])
        return {"still": still, "frames": np.stack(drawn), "audio": self.sound(clip, frames)}


def generator_fields(config: ml_collections.ConfigDict) -> dict[str, Argument]:
    """Fields of the generator that a config describes, a checkpoint's config too."""
    fields = {
        name: tuple(value) if isinstance(value, list) else value  # JSON has no tuples
        for name, value in config.model.items()
    }
    return {"dtype": jnp.dtype(config.precision), **fields}


def footage(batch: Arrays) -> Footage:
    """A batch of `RecurrentGAN.collate` as networks see it."""
    still, frames = (
        batch[name][..., ::-1].astype(jnp.float32) / 127.5 - 1 for name in ("still", "frames")
    )
    return Footage(still, frames, batch["audio"], batch["mask"])


def reconstruction(
    drawn: Footage, real: Footage, upper_half_weight: float, mouth_weight: float = 0.0
) -> jax.Array:
    """Mean absolute error of the valid frames' lower halves, the L1 term of 2018, as means.

    Args:
        drawn: what the generator made.
        real: what it should have made.
        upper_half_weight: how much of the upper halves' error is added; 0 in the paper.
        mouth_weight: how much of the error around the mouth is added, likewise.
    """
    every = jnp.abs(drawn.frames - real.frames)
    rows = every.mean(axis=(-2, -1))
    half = rows.shape[-1] // 2
    error = rows[..., half:].mean(axis=-1)
    if upper_half_weight:
        error += upper_half_weight * rows[..., :half].mean(axis=-1)
    if mouth_weight:
        error += mouth_weight * _mouth(every).mean(axis=(-3, -2, -1))
    return jnp.sum(error * real.mask) / jnp.sum(real.mask)


def _mouth(frames: jax.Array) -> jax.Array:
    height, width = frames.shape[2:4]
    rows, columns = (
        slice(round(low * size), round(high * size))
        for (low, high), size in ((MOUTH_ROWS, height), (MOUTH_COLUMNS, width))
    )
    return frames[:, :, rows, columns]
