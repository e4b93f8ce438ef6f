"""What methods share that draw single frames, each from other frames of the face and its sound."""

from collections.abc import Mapping

import jax
import ml_collections
import numpy as np

from lipsync_jax.data.audio_features import Spectrum
from lipsync_jax.data.clip import Clip, decode_frames
from lipsync_jax.data.feature_cache import MelCache
from lipsync_jax.methods.base import Arrays, Method, State, fresh_state
from lipsync_jax.types import Cards, Tree

SHEET_FRAMES = 8


class SingleFrames(Method):
    """Examples of several frames of one clip; subclasses fill in what an example is.

    Attributes:
        spectrum: what the networks hear windows of.
        given: the entry of an example that holds the other frames of the face.
    """

    best = ("mouth_error", -1)
    spectrum: Spectrum
    given: str

    def __init__(self, config: ml_collections.ConfigDict, cards: Cards) -> None:
        super().__init__(config, cards)
        self._spectra = MelCache()

    def frames(self, clip: Clip, rng: np.random.Generator) -> tuple[Arrays, np.ndarray]:
        """An example without augmentation, with `target`, `given` and `sound`; its frames."""
        raise NotImplementedError

    def inputs(self, batch: Arrays) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The networks' sound and pictures, and the target, all frames in one batch axis."""
        raise NotImplementedError

    def shown_first(
        self, inputs: tuple[jax.Array, jax.Array, jax.Array]
    ) -> Mapping[str, tuple[jax.Array, ...]]:
        """What each player is initialised with, by `inputs` of a single frame."""
        raise NotImplementedError

    def validation_example(self, clip: Clip, rng: np.random.Generator) -> Arrays:
        """The same without augmentation, the sound of another moment, and the mean picture.

        Returns:
            What `example` returns, and
            other_sound: float32 (frames, columns, bins), half the clip later or earlier.
            mean_face: uint8 (height, width, 3), BGR, the mean of all frames: what one would draw
                without hearing anything.
        """
        made, chosen = self.frames(clip, rng)
        total = len(clip.frames)
        mean = decode_frames(clip, range(total)).mean(axis=0)
        return {
            **made,
            "other_sound": self.sound(clip, (chosen + total // 2) % total),
            "mean_face": np.rint(mean).astype(np.uint8),
        }

    def init(self, key: jax.Array, batch: Arrays) -> State:
        """See Method."""
        keys = dict(zip(self.players, jax.random.split(key, len(self.players)), strict=True))
        shown = self.shown_first(self.few(batch, 1))
        return fresh_state(
            key,
            {
                name: player.start(player.module.init(keys[name], *shown[name]))
                for name, player in self.players.items()
            },
        )

    def few(self, batch: Arrays, examples: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        """`inputs` of the first frame of some examples."""
        names = "target", self.given, "sound"
        return self.inputs({name: batch[name][:examples, :1] for name in names})

    def sound(self, clip: Clip, frames: np.ndarray) -> np.ndarray:
        """What the networks hear at some frames, float32 (frames, columns, bins)."""
        times = [int(frame) / clip.frame_rate for frame in frames]
        heard = self._spectra.spectrum(clip, self.spectrum)
        return self.spectrum.take(heard, self.spectrum.starts(times)).astype(np.float32)


def per_example(figures: Mapping[str, Tree], examples: int) -> Arrays:
    """Figures of all frames -> their means over each example, (examples,)."""
    return {name: values.reshape(examples, -1).mean(axis=1) for name, values in figures.items()}
