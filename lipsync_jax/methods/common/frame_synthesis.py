"""Base class of methods that generate single frames from reference images and audio."""

from collections.abc import Mapping

import jax
import ml_collections
import numpy as np

from lipsync_jax.data.audio_features import AudioFeatureSpec
from lipsync_jax.data.clip import Clip, decode_frames
from lipsync_jax.data.feature_cache import FeatureCache
from lipsync_jax.methods.base import Arrays, Method, State, init_train_state
from lipsync_jax.types import ModelCards, Tree

NUM_SAMPLE_FRAMES = 8


class FrameSynthesisMethod(Method):
    """Examples of several frames of one clip; subclasses define an example's content.

    Attributes:
        audio_spec: the audio features whose windows the networks are conditioned on.
    """

    best_metric = ("mouth_l1", "min")
    audio_spec: AudioFeatureSpec

    def __init__(self, config: ml_collections.ConfigDict, model_cards: ModelCards) -> None:
        super().__init__(config, model_cards)
        self._feature_cache = FeatureCache()

    def make_unaugmented_example(
        self, clip: Clip, rng: np.random.Generator
    ) -> tuple[Arrays, np.ndarray]:
        """Returns an unaugmented example (`frames`, `reference`, `audio`) and its frame indices."""
        raise NotImplementedError

    def network_inputs(self, batch: Arrays) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns audio and images of the networks, and target frames, all along one batch axis."""
        raise NotImplementedError

    def init_inputs(
        self, model_inputs: tuple[jax.Array, jax.Array, jax.Array]
    ) -> Mapping[str, tuple[jax.Array, ...]]:
        """Returns the arguments that initialise each network, of `network_inputs` of one frame."""
        raise NotImplementedError

    def make_validation_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """Returns an unaugmented example with mismatched audio and the mean frame.

        Returns:
            The arrays of `make_example`, and
            mismatched_audio: float32 (frames, columns, bins), half the clip later or earlier.
            mean_frame: uint8 (height, width, 3), BGR, the mean of all frames: the
                audio-independent baseline.
        """
        example, chosen = self.make_unaugmented_example(clip, rng)
        total = len(clip.frames)
        mean_frame = decode_frames(clip, range(total)).mean(axis=0)
        return {
            **example,
            "mismatched_audio": self.audio_windows(clip, (chosen + total // 2) % total),
            "mean_frame": np.rint(mean_frame).astype(np.uint8),
        }

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """Returns the initial state, see `Method`."""
        keys = dict(zip(self.networks, jax.random.split(key, len(self.networks)), strict=True))
        inputs = self.init_inputs(self.take_examples(batch, 1))
        return init_train_state(
            key,
            {
                name: network.init_state(network.module.init(keys[name], *inputs[name]))
                for name, network in self.networks.items()
            },
        )

    def take_examples(self, batch: Arrays, examples: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns `network_inputs` of the first frame of the first `examples` examples."""
        names = "frames", "reference", "audio"
        return self.network_inputs({name: batch[name][:examples, :1] for name in names})

    def audio_windows(self, clip: Clip, frames: np.ndarray) -> np.ndarray:
        """Computes audio features at some frames, float32 (frames, columns, bins)."""
        columns = self.audio_spec.window_starts_of_frames(frames, clip.frame_rate)
        return self._feature_cache.windows(clip, self.audio_spec, columns).astype(np.float32)


def mean_per_example(metrics: Mapping[str, Tree], examples: int) -> Arrays:
    """Computes means (examples,) of each example's frames."""
    return {name: values.reshape(examples, -1).mean(axis=1) for name, values in metrics.items()}
