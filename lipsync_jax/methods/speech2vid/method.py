"""Speech2Vid, "You said that?" (Chung, Jamaludin and Zisserman 2017): a still speaks.

One or several stills of a face and 0.35 s of sound become the frame in their middle; the loss is
the absolute error of its pixels. A second network learns to sharpen: it is shown real frames, and
blurred, and is to tell what was lost. It has no part in the first one's loss, and is shown nothing
of what that draws, so that both learn in one run.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax import losses
from lipsync_jax.data.audio_features import MFCC
from lipsync_jax.data.clip import Clip, decode_frames
from lipsync_jax.methods.base import (
    Arrays,
    Player,
    PlayerState,
    State,
    adam,
    global_norm,
)
from lipsync_jax.methods.common.frame_synthesis import SHEET_FRAMES, SingleFrames, per_example
from lipsync_jax.methods.common.validation_metrics import mouth_error
from lipsync_jax.methods.speech2vid.model import DRAWN, FACE, MARGIN, Deblurrer, Generator
from lipsync_jax.types import Cards, Tree

BLUR_SIZE, BLUR_SIGMA = 5, 2.0  # pixels


def make(config: ml_collections.ConfigDict, cards: Cards) -> "Speech2Vid":
    """The method of a config."""
    return Speech2Vid(config, cards)


def network(config: ml_collections.ConfigDict) -> Generator:
    """The generator that a config describes, a checkpoint's config too."""
    return Generator(dtype=jnp.dtype(config.precision), **config.model)


def deblurrer(config: ml_collections.ConfigDict) -> Deblurrer:
    """The network that sharpens, of a config whose `deblur.train` is true."""
    return Deblurrer(dtype=jnp.dtype(config.precision), width=config.deblur.width)


def blur(frames: jax.Array) -> jax.Array:
    """Frames under a Gaussian of 5 x 5 pixels, sigma 2, mirrored at their borders.

    Args:
        frames: float (n, height, width, c).
    """
    reach = BLUR_SIZE // 2
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * BLUR_SIGMA**2))
    weights /= weights.sum()
    for axis in (1, 2):
        size = frames.shape[axis]
        pads = [(reach, reach) if i == axis else (0, 0) for i in range(4)]
        wide = jnp.pad(frames, pads, mode="reflect")
        frames = sum(
            weight * jax.lax.slice_in_dim(wide, i, i + size, axis=axis)
            for i, weight in enumerate(weights.tolist())
        )
    return frames


def as_seen(pictures: jax.Array) -> jax.Array:
    """uint8 (..., 3) BGR -> float32, RGB in [0, 1]."""
    return pictures[..., ::-1].astype(jnp.float32) / 255


def middle(faces: jax.Array) -> jax.Array:
    """What is to be drawn of faces: (..., 112, 112, 3) -> (..., 109, 109, 3)."""
    part = slice(MARGIN, MARGIN + DRAWN)
    return faces[..., part, part, :]


def widened(frames: jax.Array) -> jax.Array:
    """Drawn frames at the size of faces, their borders repeated; the inverse of `middle`."""
    pads = (MARGIN, FACE - DRAWN - MARGIN)
    return jnp.pad(frames, ((0, 0), pads, pads, (0, 0)), mode="edge")


class Speech2Vid(SingleFrames):
    """Players: `generator`, and with `deblur.train` the `deblurrer`."""

    spectrum, given = MFCC, "stills"

    def __init__(self, config: ml_collections.ConfigDict, cards: Cards) -> None:
        super().__init__(config, cards)
        self.players = {"generator": Player(network(config), adam(config.optimiser))}
        if config.deblur.train:
            self.players["deblurrer"] = Player(deblurrer(config), adam(config.deblur.optimiser))

    def check(self) -> None:
        """Refuses faces of another size, and no still."""
        self.check_pictures("Speech2Vid", FACE, "aligned112x112")
        if self.config.stills < 1:
            raise ValueError(f"config.stills={self.config.stills}: give 1 or 5, as published")

    def example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Some frames of a clip, for each its sound and stills of other moments.

        Returns:
            target: uint8 (frames, 112, 112, 3), BGR.
            stills: uint8 (frames, stills, 112, 112, 3), BGR.
            sound: float32 (frames, 35, 12), MFCCs.
        """
        return self.frames(clip, rng)[0]

    def shown_first(
        self, inputs: tuple[jax.Array, jax.Array, jax.Array]
    ) -> dict[str, tuple[jax.Array, ...]]:
        """See SingleFrames."""
        sound, stills, target = inputs
        return {"generator": (sound, stills), "deblurrer": (target,)}

    def update(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """One step of each network."""
        del key  # nothing here is random
        sound, stills, target = self.inputs(batch)
        generator, before = self.players["generator"], state.players["generator"]

        def loss(params: Tree) -> tuple[jax.Array, Tree]:
            drawn, stats = generator.train(params, before.batch_stats, sound, stills)
            value = l1 = losses.l1(drawn.frames, target)
            if self.config.mouth_weight:
                value += self.config.mouth_weight * mouth_error(drawn.frames, target).mean()
            return value, (l1, stats)

        (value, (l1, stats)), grads = jax.value_and_grad(loss, has_aux=True)(before.params)
        players = {"generator": generator.learn(before, grads, stats)}
        scalars = {"loss": value, "l1": l1, "gradient_norm": global_norm(grads)}
        if "deblurrer" in self.players:
            players["deblurrer"], lost = self._learn_to_sharpen(state, target)
            scalars |= lost
        return state.replace_players(**players), scalars

    def draw(
        self, variables: Mapping[str, Mapping[str, Tree]], sound: jax.Array, stills: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Draws frames in eval mode.

        Args:
            variables: of each player.
            sound: float32 (n, 35, 12), MFCCs.
            stills: float32 (n, 112, 112, 3 * stills), RGB in [0, 1].

        Returns:
            float32 (n, 109, 109, 3), RGB in [0, 1]; the same sharpened, or once more where there is
            no network for that.
        """
        drawn = self.players["generator"].module.apply(variables["generator"], sound, stills)
        sharp = drawn.frames
        if "deblurrer" in self.players:
            lost = self.players["deblurrer"].module.apply(variables["deblurrer"], sharp)
            sharp = jnp.clip(sharp + lost, 0, 1)
        return drawn.frames, sharp

    def measure(self, state: State, batch: Arrays) -> Arrays:
        """Errors of each example, those of the trivial answers, and those after sharpening.

        `mouth_error_of_other_sound` is that of what is drawn for another moment's sound: no larger
        than `mouth_error` where the generator does not listen.
        """
        sound, stills, target = self.inputs(batch)
        other = batch["other_sound"].reshape(sound.shape)
        examples, variables = len(batch["target"]), _variables(state)
        (drawn, sharp), (misled, _) = (
            self.draw(variables, heard, stills) for heard in (sound, other)
        )
        mean = jnp.repeat(middle(as_seen(batch["mean_face"])), len(target) // examples, axis=0)
        figures = {
            "l1": jnp.abs(drawn - target),
            "mouth_error": mouth_error(drawn, target),
            "mouth_error_of_other_sound": mouth_error(misled, target),
            "mouth_error_copying_still": mouth_error(middle(stills[..., :3]), target),
            "mouth_error_mean_mouth": mouth_error(mean, target),
        }
        if "deblurrer" in self.players:
            figures["l1_sharpened"] = jnp.abs(sharp - target)
            figures["mouth_error_sharpened"] = mouth_error(sharp, target)
        return per_example(figures, examples)

    def pictures(self, state: State, batch: Arrays) -> tuple[jax.Array, ...]:
        """First still, drawn, sharpened and true frame of each example."""
        sound, stills, target = self.few(batch, SHEET_FRAMES)
        drawn = self.draw(_variables(state), sound, stills)
        columns = middle(stills[..., :3]), *drawn[: len(self.players)], target
        return tuple(column[..., ::-1] for column in columns)

    def frames(self, clip: Clip, rng: np.random.Generator) -> tuple[Arrays, np.ndarray]:
        """See SingleFrames."""
        total, count, stills = len(clip.frames), self.config.frames_per_clip, self.config.stills
        if total <= stills:
            raise ValueError(f"it has {total} frames, fewer than {stills + 1}")
        chosen = rng.integers(0, total, count)
        apart = [rng.choice(total - 1, stills, replace=False) + 1 for _ in chosen]
        others = (chosen[:, None] + np.array(apart)) % total
        pictures = decode_frames(clip, [*chosen, *others.ravel()])
        return {
            "target": pictures[:count],
            "stills": pictures[count:].reshape(count, stills, *pictures.shape[1:]),
            "sound": self.sound(clip, chosen),
        }, chosen

    def inputs(self, batch: Arrays) -> tuple[jax.Array, jax.Array, jax.Array]:
        """See SingleFrames."""
        target = middle(as_seen(batch["target"]))
        stills = jnp.moveaxis(as_seen(batch["stills"]), 2, -2)
        return (
            batch["sound"].reshape(-1, *batch["sound"].shape[2:]),
            stills.reshape(-1, *stills.shape[2:4], stills.shape[4] * 3),
            target.reshape(-1, *target.shape[2:]),
        )

    def _learn_to_sharpen(self, state: State, frames: jax.Array) -> tuple[PlayerState, Arrays]:
        """A step on what blurring takes from real frames."""
        player, before = self.players["deblurrer"], state.players["deblurrer"]
        blurred = blur(frames)

        def loss(params: Tree) -> jax.Array:
            found = player.module.apply({"params": params}, blurred)
            return losses.mean_squared(found, frames - blurred)

        value, grads = jax.value_and_grad(loss)(before.params)
        return player.learn(before, grads, before.batch_stats), {
            "deblur": value,
            "deblur_share": value / jnp.mean((frames - blurred) ** 2),
        }


def _variables(state: State) -> dict[str, dict[str, Tree]]:
    return {name: player.variables for name, player in state.players.items()}
