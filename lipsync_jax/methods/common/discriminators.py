"""How the discriminators of temporal GANs look at footage, learn, and are to be deceived.

Every judge minimises the binary cross-entropy of what it sees, each kind of footage with its share;
the generator minimises -log D of its own frames (Goodfellow et al. 2014, the form that does not
saturate). Batch statistics are those of one kind of footage at a time.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lipsync_jax.methods.base import Player, PlayerState, global_norm
from lipsync_jax.methods.vougioukas.model import SNIPPET
from lipsync_jax.types import Tree

# What a judge is shown: Footage, or the tuple that another method has in its place.
Shown = Any
# Name -> (share in the loss, whether it is to be accepted, what is shown).
Evidence = dict[str, tuple[float, bool, tuple[jax.Array, ...]]]


class Footage(NamedTuple):
    """Clips as networks see them.

    Attributes:
        still: (n, height, width, 3), RGB in [-1, 1]: who is to speak.
        frames: (n, time, height, width, 3), of the same kind.
        audio: (n, time, ...), a window of sound a frame.
        mask: bool (n, time), False where a clip is filled up behind its end.
    """

    still: jax.Array
    frames: jax.Array
    audio: jax.Array
    mask: jax.Array

    @property
    def lengths(self) -> jax.Array:
        """Frames of each clip, (n,)."""
        return self.mask.sum(axis=1)


class Judge:
    """A discriminator of whole clips with their sound.

    Args:
        player: the network and its optimiser.
        weight: of its term in the generator's loss.
    """

    call = "__call__"  # which of the network's functions returns logits

    def __init__(self, player: Player, weight: float) -> None:
        self.player, self.weight = player, weight

    def look(self, footage: Shown, key: jax.Array) -> tuple[jax.Array, ...]:
        """What the network is shown: the same moments for the same key and lengths."""
        del key
        return footage.frames, footage.audio, footage.mask

    def evidence(self, real: Shown, drawn: Shown, key: jax.Array) -> Evidence:
        """Name -> (share in the loss, whether it is to be accepted, what is shown)."""
        return {
            "real": (1.0, True, self.look(real, key)),
            "drawn": (1.0, False, self.look(drawn, key)),
        }

    def learn(
        self, before: PlayerState, real: Shown, drawn: Shown, key: jax.Array
    ) -> tuple[PlayerState, dict[str, jax.Array]]:
        """One step -> the new state, and figures: cross-entropies `of_...` and `gradient_norm`."""
        evidence = self.evidence(real, drawn, key)

        def loss(params: Tree) -> tuple[jax.Array, Tree]:
            value: Any = 0.0  # an array from the first kind of footage on
            terms: dict[str, jax.Array] = {}
            stats = before.batch_stats
            for name, (share, accept, shown) in evidence.items():
                logits, stats = self._judge(params, stats, shown)
                terms[f"of_{name}"] = cross_entropy(logits, accept)
                value += share * terms[f"of_{name}"]
            return value, (terms, stats)

        grads, (terms, stats) = jax.grad(loss, has_aux=True)(before.params)
        terms["gradient_norm"] = global_norm(grads)
        return self.player.learn(before, grads, stats), terms

    def deceived(self, state: PlayerState, drawn: Shown, key: jax.Array) -> jax.Array:
        """-log D of drawn footage, what the generator minimises; statistics stay untouched."""
        logits, _ = self._judge(state.params, state.batch_stats, self.look(drawn, key))
        return cross_entropy(logits, True)

    def _judge(
        self, params: Tree, batch_stats: Tree, shown: tuple[jax.Array, ...]
    ) -> tuple[jax.Array, Tree]:
        return self.player.train(params, batch_stats, *shown, method=self.call)


class MotionJudge(Judge):
    """A discriminator of whole clips without their sound."""

    def look(self, footage: Footage, key: jax.Array) -> tuple[jax.Array, ...]:
        """See Judge."""
        del key
        return footage.frames, footage.mask


class FrameJudge(Judge):
    """A discriminator of single frames beside the still.

    Args:
        player: see Judge.
        weight: see Judge.
        samples: frames of each clip, drawn uniformly.
    """

    def __init__(self, player: Player, weight: float, samples: int = 1) -> None:
        super().__init__(player, weight)
        self.samples = samples

    def look(self, footage: Footage, key: jax.Array) -> tuple[jax.Array, ...]:
        """See Judge."""
        chosen = _moments(key, footage.lengths, self.samples)
        still = jnp.repeat(footage.still, self.samples, axis=0)
        return _at(footage.frames, chosen), still


class SyncJudge(FrameJudge):
    """A discriminator of mouths in five frames with their sound.

    It accepts real frames with their sound; real frames with other sound and drawn frames with
    theirs are refused, half of the loss each. Other sound is, half the time, that of the same clip
    at least five frames away, else another clip's.
    """

    def look(self, footage: Footage, key: jax.Array) -> tuple[jax.Array, ...]:
        """See Judge."""
        first = self._first(footage, key)
        return self._mouths(footage.frames, first), _sound(footage.audio, first)

    def evidence(self, real: Footage, drawn: Footage, key: jax.Array) -> Evidence:
        """See Judge."""
        first = self._first(real, key)
        wrong = self._wrong_sound(real, first, jax.random.fold_in(key, 1))
        return {
            "real": (1.0, True, self.look(real, key)),
            "wrong_sound": (0.5, False, (self._mouths(real.frames, first), wrong)),
            "drawn": (0.5, False, self.look(drawn, key)),
        }

    def _first(self, footage: Footage, key: jax.Array) -> jax.Array:
        return _moments(key, footage.lengths - (SNIPPET - 1), self.samples)

    def _mouths(self, frames: jax.Array, first: jax.Array) -> jax.Array:
        n, _, height, width, colours = frames.shape
        lower = frames[:, :, height // 2 :]
        every = first[..., None] + jnp.arange(SNIPPET)
        found = _at(lower, every.reshape(n, -1))
        return found.reshape(-1, SNIPPET, height - height // 2, width, colours)

    def _wrong_sound(self, footage: Footage, first: jax.Array, key: jax.Array) -> jax.Array:
        same_key, other_key, coin = jax.random.split(key, 3)
        starts = footage.lengths[:, None, None] - (SNIPPET - 1)
        every = jnp.arange(footage.mask.shape[1])
        apart = (every < starts) & (jnp.abs(every - first[..., None]) >= SNIPPET)
        same = jax.random.categorical(same_key, jnp.where(apart, 0.0, -jnp.inf))
        neighbour = jnp.roll(footage.lengths, 1)
        other = _moments(other_key, neighbour - (SNIPPET - 1), self.samples)
        # Short clips have no moment far enough away.
        own = jax.random.bernoulli(coin, shape=first.shape) & apart.any(axis=-1)
        return jnp.where(
            own.reshape(-1, 1),
            _sound(footage.audio, same),
            _sound(jnp.roll(footage.audio, 1, axis=0), other),
        )


def cross_entropy(logits: jax.Array, accept: bool) -> jax.Array:
    """Mean binary cross-entropy of logits, all of which should be accepted or refused."""
    return jnp.mean(jax.nn.softplus(-logits if accept else logits))


def _moments(key: jax.Array, lengths: jax.Array, samples: int) -> jax.Array:
    """Numbers (n, samples), uniform in 0..lengths - 1, whatever the batch is filled up to."""
    share = jax.random.uniform(key, (len(lengths), samples))
    return jnp.minimum((share * lengths[:, None]).astype(jnp.int32), lengths[:, None] - 1)


def _at(x: jax.Array, moments: jax.Array) -> jax.Array:
    """Chosen moments (n, samples) of x (n, time, ...) -> (n * samples, ...)."""
    found = jax.vmap(lambda x, moments: x[moments])(x, moments)
    return found.reshape(-1, *x.shape[2:])


def _sound(audio: jax.Array, first: jax.Array) -> jax.Array:
    """The sound of five frames: the window of the middle one, which is just as long."""
    return _at(audio, first + SNIPPET // 2)
