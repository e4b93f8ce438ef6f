"""A lip reader that was trained here, and what it reads of a face."""

import os
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax.data import word_labels
from lipsync_jax.data.clip import GEOMETRIES
from lipsync_jax.methods.lip_reader import method as lip_reader
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.provenance import metadata
from lipsync_jax.training import checkpoints
from lipsync_jax.types import Tree, Variables

_STEP = 25  # clips are filled up to a multiple of so many frames: few shapes are compiled


class Reader:
    """Reads lips.

    Attributes:
        model: a name for its weights, see `provenance.model_hash`.
        size: rows and columns of the face crops that it takes.
        cut: how they are cut, as judges say it.
        geometry: of the shards that it was trained on.
    """

    cut = "face"

    def __init__(
        self,
        model: str,
        geometry: str,
        vocabulary: tuple[str, ...],
        change_cost: float,
        classify: Callable[[jax.Array, jax.Array], np.ndarray],
    ) -> None:
        self.model, self.geometry, self.size = model, geometry, GEOMETRIES[geometry].height
        self._vocabulary, self._change_cost, self._classify = vocabulary, change_cost, classify

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "Reader":
        """Loads a run of configs/lip_reader.py.

        Raises:
            FileNotFoundError: there is no checkpoint, or it holds no lip reader.
            ValueError: its weights are of another network.
        """
        folder = checkpoints.find(directory)
        if not (folder / "reader").is_dir():
            raise FileNotFoundError(
                f"checkpoint {directory} holds no lip reader; name a run of configs/lip_reader.py"
            )
        config = ml_collections.ConfigDict(checkpoints.read_card(folder)["config"])
        with checkpoints.fitting(directory):
            module, vocabulary = lip_reader.network(config), tuple(map(str, config.vocabulary))
            size, change_cost = GEOMETRIES[config.data.geometry].height, float(config.change_cost)

        @jit
        def classify(variables: Variables, mouths: jax.Array, mask: jax.Array) -> jax.Array:
            logits: Tree = module.apply(variables, lip_reader.as_seen(mouths, mask), mask)
            return jax.nn.log_softmax(logits)

        shown = lip_reader.mouths(np.zeros((_STEP, size, size, 3), np.uint8))[None]
        variables, _ = checkpoints.load_inference(
            directory,
            "reader",
            lambda found: jax.eval_shape(classify, found, shown, np.ones((1, _STEP), bool)),
        )
        on_device = jax.device_put(variables)
        return cls(
            metadata.model_hash(variables),
            config.data.geometry,
            vocabulary,
            change_cost,
            lambda mouths, mask: classify(on_device, mouths, mask),
        )

    def read(self, mouths: Iterable[np.ndarray]) -> str:
        """What these lips say.

        Args:
            mouths: uint8 (height, width), 25 a second, see `lip_reader.mouths`.

        Returns:
            Words of its vocabulary with spaces between; empty where it reads none.
        """
        stacked = np.stack(list(mouths))
        missing = -len(stacked) % _STEP
        mask = np.arange(len(stacked) + missing) < len(stacked)
        filled = np.concatenate([stacked, np.repeat(stacked[-1:], missing, axis=0)])
        found = np.asarray(self._classify(jnp.asarray(filled[None]), jnp.asarray(mask[None])))[0]
        classes = word_labels.runs(word_labels.most_likely(found[mask], self._change_cost))
        return " ".join(self._vocabulary[word - 1] for word in classes)
