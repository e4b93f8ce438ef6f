"""A lip reader, for the word error rate of generated faces (Vougioukas et al. 2020, section 4.1).

One player, `reader`, learns the word of every frame from a corpus with alignments. What it reads
of real videos is the floor that generated ones are to be compared with.
"""

from collections.abc import Mapping

import cv2
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from lipsync_jax.data import augment, word_labels
from lipsync_jax.data.clip import Clip, decode_frames
from lipsync_jax.methods.base import Arrays, Method, Player, State, adam, fresh_state, global_norm
from lipsync_jax.methods.lip_reader.model import LipReader
from lipsync_jax.types import Cards, Tree


def make(config: ml_collections.ConfigDict, cards: Cards) -> "LipReaderMethod":
    """The method of a config."""
    return LipReaderMethod(config, cards)


def network(config: ml_collections.ConfigDict) -> LipReader:
    """The lip reader that a config describes."""
    return LipReader(
        words=len(config.vocabulary), dtype=jnp.dtype(config.precision), **config.model
    )


def mouths(faces: np.ndarray) -> np.ndarray:
    """The mouths of face crops: the lower half, without a sixth at either side, in grey.

    Args:
        faces: uint8 (n, size, size, 3), BGR.

    Returns:
        uint8 (n, size / 2, 2 size / 3).
    """
    size = faces.shape[1]
    lower = faces[:, size // 2 :, size // 6 : size - size // 6]
    return np.stack([cv2.cvtColor(face, cv2.COLOR_BGR2GRAY) for face in lower])


def as_seen(mouths: jax.Array, mask: jax.Array) -> jax.Array:
    """Mouths as the network sees them: each clip of mean 0 and deviation 1, whatever its light.

    Args:
        mouths: uint8 (n, time, height, width).
        mask: bool (n, time).

    Returns:
        float32 (n, time, height, width, 1).
    """
    x = mouths.astype(jnp.float32)
    valid = jnp.broadcast_to(mask[..., None, None], x.shape)
    axes = (1, 2, 3)
    mean = jnp.mean(x, axes, where=valid, keepdims=True)
    deviation = jnp.std(x, axes, where=valid, keepdims=True)
    return ((x - mean) / (deviation + 1.0))[..., None]


class LipReaderMethod(Method):
    """One player, `reader`."""

    best = ("wer", -1)

    def __init__(self, config: ml_collections.ConfigDict, cards: Cards) -> None:
        super().__init__(config, cards)
        self.players = {"reader": Player(network(config), adam(config.optimiser))}
        self._classes = {word: i for i, word in enumerate(config.vocabulary, 1)}

    def example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """A stretch of `config.frames` frames, at another pace and in another light.

        Returns:
            mouths: uint8 (frames, height, width), grey; behind the clip's end its last frame.
            classes: int32 (frames,), the word of each frame, 0 for silence.
            mask: bool (frames,), False behind the clip's end.
        """
        pace = 1 + self.config.pace * rng.uniform(-1, 1)
        total = len(clip.frames)
        first = int(rng.integers(max(0, total - self.config.frames) + 1))
        index = first + np.arange(self.config.frames) * pace + rng.uniform(0, 1)
        return self._taken(clip, index.astype(int), rng, self.config.augment)

    def validation_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """A clip from its beginning, as it is."""
        return self._taken(clip, np.arange(self.config.frames), rng, 0.0)

    def _taken(
        self, clip: Clip, index: np.ndarray, rng: np.random.Generator, strength: float
    ) -> Arrays:
        mask = index < len(clip.frames)
        index = np.minimum(index, len(clip.frames) - 1)
        faces = augment.augment_faces(decode_frames(clip, index), rng, strength)
        return {
            "mouths": mouths(faces),
            "classes": word_labels.frame_classes(clip, self._classes)[index],
            "mask": mask,
        }

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """See Method."""
        seen, mask = as_seen(batch["mouths"][:1], batch["mask"][:1]), batch["mask"][:1]
        player = self.players["reader"]
        return fresh_state(key, {"reader": player.start(player.module.init(key, seen, mask))})

    def update(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """One step: cross-entropy of every frame's word."""
        player, before = self.players["reader"], state.players["reader"]
        mask = batch["mask"]

        def loss(params: Tree) -> tuple[jax.Array, Tree]:
            seen = as_seen(batch["mouths"], mask)
            logits, stats = player.train(
                params, before.batch_stats, seen, mask, rngs={"dropout": key}
            )
            errors = optax.softmax_cross_entropy_with_integer_labels(logits, batch["classes"])
            right = jnp.argmax(logits, axis=-1) == batch["classes"]
            return jnp.mean(errors, where=mask), (stats, jnp.mean(right, where=mask))

        (value, (stats, right)), grads = jax.value_and_grad(loss, has_aux=True)(before.params)
        scalars = {"loss": value, "frame_accuracy": right, "gradient_norm": global_norm(grads)}
        return state.replace_players(reader=player.learn(before, grads, stats)), scalars

    def measure(self, state: State, batch: Arrays) -> Arrays:
        """Log-probabilities of the words of each frame."""
        seen = as_seen(batch["mouths"], batch["mask"])
        logits = self.players["reader"].module.apply(
            state.players["reader"].variables, seen, batch["mask"]
        )
        return {
            "log_probabilities": jax.nn.log_softmax(logits),
            "classes": batch["classes"],
            "mask": batch["mask"],
        }

    def summarise(self, measured: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Word error rate over all clips, and the share of frames whose word was right."""
        edits = spoken = right = total = 0
        rows = zip(
            measured["log_probabilities"], measured["classes"], measured["mask"], strict=True
        )
        for log_probabilities, classes, mask in rows:
            found = word_labels.most_likely(log_probabilities[mask], self.config.change_cost)
            said = word_labels.runs(classes[mask])
            edits, spoken = (
                edits + word_labels.edit_distance(said, word_labels.runs(found)),
                spoken + len(said),
            )
            right, total = right + int((found == classes[mask]).sum()), total + len(found)
        return {"wer": edits / max(1, spoken), "frame_accuracy": right / total}
