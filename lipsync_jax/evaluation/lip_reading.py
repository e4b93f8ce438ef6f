"""Transcribes faces with a lip reader of configs/lip_reader.py."""

import os
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax.data import word_labels
from lipsync_jax.data.clip import CROP_SPECS
from lipsync_jax.methods.lip_reader import method as lip_reader
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.provenance import metadata
from lipsync_jax.training import checkpoints, model_cards
from lipsync_jax.types import Tree, Variables

_LENGTH_MULTIPLE = 25  # clips are padded to a multiple of 25 frames: few shapes are compiled


class LipReadingModel:
    """Transcribes lip movements.

    Attributes:
        model_hash: identifies the weights, see `metadata.model_hash`.
        size: rows and columns of the face crops.
        crop_style: how faces are cropped, see `SyncModel.crop_style`.
        crop: of the shards that it was trained on, see `clip.CROP_SPECS`.
    """

    crop_style = "face"

    def __init__(
        self,
        model_hash: str,
        crop: str,
        vocabulary: tuple[str, ...],
        transition_cost: float,
        classify: Callable[[jax.Array, jax.Array], np.ndarray],
    ) -> None:
        self.model_hash, self.crop, self.size = model_hash, crop, CROP_SPECS[crop].height
        self._vocabulary, self._transition_cost, self._classify = (
            vocabulary,
            transition_cost,
            classify,
        )

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "LipReadingModel":
        """Loads a run of configs/lip_reader.py.

        Raises:
            FileNotFoundError: there is no checkpoint, or the checkpoint has no lip reader.
            ValueError: the weights have other shapes than the network.
        """
        folder = checkpoints.resolve_checkpoint(directory)
        if "reader" not in model_cards.network_names(folder):
            raise FileNotFoundError(
                f"checkpoint {directory} holds no lip reader; give a run of configs/lip_reader.py"
            )
        config = ml_collections.ConfigDict(checkpoints.read_model_card(folder)["config"])
        with checkpoints.raise_on_shape_mismatch(directory):
            module, vocabulary = lip_reader.network(config), tuple(map(str, config.vocabulary))
            size, transition_cost = (
                CROP_SPECS[config.data.crop].height,
                float(config.viterbi_transition_cost),
            )

        @jit
        def classify(variables: Variables, mouths: jax.Array, mask: jax.Array) -> jax.Array:
            logits: Tree = module.apply(
                variables, lip_reader.standardize_mouths(mouths, mask), mask
            )
            return jax.nn.log_softmax(logits)

        example = lip_reader.crop_mouths(np.zeros((_LENGTH_MULTIPLE, size, size, 3), np.uint8))[
            None
        ]
        variables, _ = checkpoints.load_network(
            directory,
            "reader",
            lambda found: jax.eval_shape(
                classify, found, example, np.ones((1, _LENGTH_MULTIPLE), bool)
            ),
        )
        on_device = jax.device_put(variables)
        return cls(
            metadata.model_hash(variables),
            config.data.crop,
            vocabulary,
            transition_cost,
            lambda mouths, mask: classify(on_device, mouths, mask),
        )

    def transcribe(self, mouths: Iterable[np.ndarray]) -> str:
        """Transcribes one clip.

        Args:
            mouths: uint8 (height, width), 25 a second, see `lip_reader.crop_mouths`.

        Returns:
            Words of the vocabulary, separated by spaces; empty if no word was recognised.
        """
        stacked = np.stack(list(mouths))
        missing = -len(stacked) % _LENGTH_MULTIPLE
        mask = np.arange(len(stacked) + missing) < len(stacked)
        padded = np.concatenate([stacked, np.repeat(stacked[-1:], missing, axis=0)])
        log_probs = np.asarray(self._classify(jnp.asarray(padded[None]), jnp.asarray(mask[None])))[
            0
        ]
        classes = word_labels.collapse_repeats(
            word_labels.viterbi_decode(log_probs[mask], self._transition_cost)
        )
        return " ".join(self._vocabulary[label - 1] for label in classes)
