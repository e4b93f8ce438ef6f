"""A lip reader, for the word error rate of generated faces (Vougioukas et al. 2020, section 4.1).

One network, `reader`, classifies the word of each frame; its training needs a corpus with word
alignments. The error rate of real videos is the lower bound for generated ones.
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
from lipsync_jax.faces.regions import MOUTH_LIP_READING, crop_mouth
from lipsync_jax.methods.base import (
    Arrays,
    Method,
    Network,
    State,
    global_norm,
    init_train_state,
    make_optimizer,
)
from lipsync_jax.methods.lip_reader.model import LipReader
from lipsync_jax.types import ModelCards, Tree


def make(config: ml_collections.ConfigDict, model_cards: ModelCards) -> "LipReaderMethod":
    """Returns the method of a config."""
    return LipReaderMethod(config, model_cards)


def network(config: ml_collections.ConfigDict) -> LipReader:
    """Returns the lip reader that a config describes."""
    return LipReader(
        num_words=len(config.vocabulary), dtype=jnp.dtype(config.precision), **config.model
    )


def crop_mouths(faces: np.ndarray) -> np.ndarray:
    """Crops the mouths of faces, see `faces.regions.MOUTH_LIP_READING`, in grey.

    Args:
        faces: uint8 (n, size, size, 3), BGR.

    Returns:
        uint8 (n, size / 2, 2 size / 3).
    """
    mouths = crop_mouth(faces, MOUTH_LIP_READING)
    return np.stack([cv2.cvtColor(mouth, cv2.COLOR_BGR2GRAY) for mouth in mouths])


def standardize_mouths(images: jax.Array, mask: jax.Array) -> jax.Array:
    """Normalises mouths to mean 0 and standard deviation 1 over each clip.

    Args:
        images: uint8 (n, time, height, width).
        mask: bool (n, time), the valid frames.

    Returns:
        float32 (n, time, height, width, 1).
    """
    x = images.astype(jnp.float32)
    valid = jnp.broadcast_to(mask[..., None, None], x.shape)
    axes = (1, 2, 3)
    mean = jnp.mean(x, axes, where=valid, keepdims=True)
    deviation = jnp.std(x, axes, where=valid, keepdims=True)
    return ((x - mean) / (deviation + 1.0))[..., None]


class LipReaderMethod(Method):
    """One network, `reader`."""

    best_metric = ("wer", "min")

    def __init__(self, config: ml_collections.ConfigDict, model_cards: ModelCards) -> None:
        super().__init__(config, model_cards)
        self.networks = {"reader": Network(network(config), make_optimizer(config.optimizer))}
        self._classes = {word: i for i, word in enumerate(config.vocabulary, 1)}

    def make_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Returns a segment of `config.frames` frames, augmented in speed and brightness.

        Returns:
            mouths: uint8 (frames, height, width), grey; padded with the clip's last frame.
            classes: int32 (frames,), the word of each frame, 0 for silence.
            mask: bool (frames,), False for padding.
        """
        speed = 1 + self.config.speed_augment * rng.uniform(-1, 1)
        total = len(clip.frames)
        first = int(rng.integers(max(0, total - self.config.frames) + 1))
        index = first + np.arange(self.config.frames) * speed + rng.uniform(0, 1)
        return self._make_example(clip, index.astype(int), rng, self.config.augment_magnitude)

    def make_validation_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Returns the first `config.frames` frames of a clip, unaugmented."""
        return self._make_example(clip, np.arange(self.config.frames), rng, 0.0)

    def _make_example(
        self, clip: Clip, index: np.ndarray, rng: np.random.Generator, magnitude: float
    ) -> Arrays:
        mask = index < len(clip.frames)
        index = np.minimum(index, len(clip.frames) - 1)
        faces = augment.augment_faces(decode_frames(clip, index), rng, magnitude)
        return {
            "mouths": crop_mouths(faces),
            "classes": word_labels.frame_labels(clip, self._classes)[index],
            "mask": mask,
        }

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """Returns the initial state, see `Method`."""
        images, mask = standardize_mouths(batch["mouths"][:1], batch["mask"][:1]), batch["mask"][:1]
        reader = self.networks["reader"]
        return init_train_state(
            key, {"reader": reader.init_state(reader.module.init(key, images, mask))}
        )

    def train_step(self, state: State, batch: Arrays, key: jax.Array) -> tuple[State, Arrays]:
        """Runs one step on the cross-entropy of each frame's word."""
        reader, before = self.networks["reader"], state.networks["reader"]
        mask = batch["mask"]

        def loss(params: Tree) -> tuple[jax.Array, Tree]:
            images = standardize_mouths(batch["mouths"], mask)
            logits, stats = reader.apply_train(
                params, before.batch_stats, images, mask, rngs={"dropout": key}
            )
            errors = optax.softmax_cross_entropy_with_integer_labels(logits, batch["classes"])
            correct = jnp.argmax(logits, axis=-1) == batch["classes"]
            return jnp.mean(errors, where=mask), (stats, jnp.mean(correct, where=mask))

        (value, (stats, accuracy)), grads = jax.value_and_grad(loss, has_aux=True)(before.params)
        scalars = {"loss": value, "frame_accuracy": accuracy, "grad_norm": global_norm(grads)}
        return state.next_step(reader=reader.apply_gradients(before, grads, stats)), scalars

    def eval_step(self, state: State, batch: Arrays) -> Arrays:
        """Computes log-probabilities of the words of each frame."""
        images = standardize_mouths(batch["mouths"], batch["mask"])
        logits = self.networks["reader"].module.apply(
            state.networks["reader"].variables, images, batch["mask"]
        )
        return {
            "log_probabilities": jax.nn.log_softmax(logits),
            "classes": batch["classes"],
            "mask": batch["mask"],
        }

    def aggregate_metrics(self, metrics: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Computes the word error rate over all clips, and the accuracy over frames."""
        edits = num_words = correct = total = 0
        rows = zip(metrics["log_probabilities"], metrics["classes"], metrics["mask"], strict=True)
        for log_probabilities, classes, mask in rows:
            predicted = word_labels.viterbi_decode(
                log_probabilities[mask], self.config.viterbi_transition_cost
            )
            reference_words = word_labels.collapse_repeats(classes[mask])
            edits, num_words = (
                edits
                + word_labels.edit_distance(
                    reference_words, word_labels.collapse_repeats(predicted)
                ),
                num_words + len(reference_words),
            )
            correct, total = (
                correct + int((predicted == classes[mask]).sum()),
                total + len(predicted),
            )
        return {"wer": edits / max(1, num_words), "frame_accuracy": correct / total}
