"""The video autoencoder whose codes "At a Glance" compares (Chen et al. 2018, section 4.1).

It is trained from scratch to draw the frames it is shown; then `methods.glance` takes it frozen.
"""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax import losses
from lipsync_jax.data.clip import Clip, decode_frames
from lipsync_jax.methods.base import Arrays, Method, Player, State, adam, fresh_state, global_norm
from lipsync_jax.methods.glance.autoencoder_model import VideoAutoencoder
from lipsync_jax.methods.glance.model import FRAMES
from lipsync_jax.types import Cards, Tree

SHEET_CLIPS, SHEET_FRAMES = 4, 8


def make(config: ml_collections.ConfigDict, cards: Cards) -> "GlanceAutoencoder":
    """The method of a config."""
    return GlanceAutoencoder(config, cards)


def network(config: ml_collections.ConfigDict) -> VideoAutoencoder:
    """The autoencoder that a config describes, a checkpoint's config too."""
    return VideoAutoencoder(dtype=jnp.dtype(config.precision), **config.model)


def stretch(clip: Clip, rng: np.random.Generator) -> range:
    """Sixteen frames in a row, anywhere in a clip.

    Raises:
        ValueError: the clip has fewer.
    """
    last = len(clip.frames) - FRAMES
    if last < 0:
        raise ValueError(f"it has {len(clip.frames)} frames, fewer than {FRAMES}")
    start = int(rng.integers(last + 1))
    return range(start, start + FRAMES)


def as_seen(pictures: jax.Array) -> jax.Array:
    """uint8 (..., 3) BGR -> float32, RGB in [-1, 1]."""
    return pictures[..., ::-1].astype(jnp.float32) / 127.5 - 1


def sheet(*rows: jax.Array) -> tuple[jax.Array, ...]:
    """Columns of a sample sheet: moments of a few clips, one row each of `rows` below another.

    Args:
        rows: (n, time, height, width, 3) each, RGB in [-1, 1].
    """
    few = jnp.stack([row[:SHEET_CLIPS] for row in rows], axis=1)
    shown = few.reshape(-1, *few.shape[2:])[..., ::-1] / 2 + 0.5
    moments = np.linspace(0, shown.shape[1] - 1, SHEET_FRAMES).round().astype(int)
    return tuple(shown[:, t] for t in moments)


class GlanceAutoencoder(Method):
    """Player: `autoencoder`."""

    best = ("psnr", 1)

    def __init__(self, config: ml_collections.ConfigDict, cards: Cards) -> None:
        super().__init__(config, cards)
        self.players = {"autoencoder": Player(network(config), adam(config.optimiser))}

    def example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Frames of a clip: uint8 (16, height, width, 3), BGR."""
        return {"frames": decode_frames(clip, stretch(clip, rng))}

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """See Method."""
        player = self.players["autoencoder"]
        variables = player.module.init(key, as_seen(batch["frames"][:1, :1]))
        return fresh_state(key, {"autoencoder": player.start(variables)})

    def update(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """One step on the mean squared error."""
        del key  # nothing here is random
        player, before = self.players["autoencoder"], state.players["autoencoder"]
        frames = as_seen(batch["frames"])

        def loss(params: Tree) -> tuple[jax.Array, Tree]:
            (drawn, _), stats = player.train(params, before.batch_stats, frames)
            return losses.mean_squared(drawn, frames), stats

        (value, stats), grads = jax.value_and_grad(loss, has_aux=True)(before.params)
        after = player.learn(before, grads, stats)
        return state.replace_players(autoencoder=after), {
            "loss": value,
            "gradient_norm": global_norm(grads),
        }

    def measure(self, state: State, batch: Arrays) -> Arrays:
        """PSNR of each clip, decibels, of all colours."""
        frames = as_seen(batch["frames"])
        error = jnp.mean(((self._draw(state, frames) - frames) / 2) ** 2, axis=(1, 2, 3, 4))
        return {"psnr": -10 * jnp.log10(error)}

    def pictures(self, state: State, batch: Arrays) -> tuple[jax.Array, ...]:
        """Moments of a few clips, the frames above what is drawn of their codes."""
        frames = as_seen(batch["frames"][:SHEET_CLIPS])
        return sheet(frames, self._draw(state, frames))

    def _draw(self, state: State, frames: jax.Array) -> jax.Array:
        player = state.players["autoencoder"]
        return self.players["autoencoder"].module.apply(player.variables, frames)[0]
