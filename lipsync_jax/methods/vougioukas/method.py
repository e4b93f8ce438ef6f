"""Speech-driven faces with temporal GANs: Vougioukas, Petridis, Pantic 2018, and their successor.

2018: the generator against a discriminator of single frames and one of whole clips with their
sound. 2020: against three, of frames, of motion, and of mouths in sync with the sound. Both add the
absolute error of the lower half of the face, l1_weight times. The configs' variants are the papers'
ablations.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import ClassVar

import flax.linen as nn
import ml_collections
import numpy as np

from lipsync_jax.data.audio_windows import raw_windows
from lipsync_jax.data.clip import Clip
from lipsync_jax.methods.common.discriminators import FrameJudge, Judge, MotionJudge, SyncJudge
from lipsync_jax.methods.common.recurrent_gan import RecurrentGAN, generator_fields
from lipsync_jax.methods.vougioukas.model import (
    SNIPPET,
    FrameDiscriminator,
    Generator,
    MotionDiscriminator,
    SequenceDiscriminator,
    SyncDiscriminator,
)
from lipsync_jax.types import Argument, Cards


def make(config: ml_collections.ConfigDict, cards: Cards) -> "TemporalGAN":
    """The method of a config."""
    return TemporalGAN(config, cards)


def network(config: ml_collections.ConfigDict) -> Generator:
    """The generator that a config describes, a converted checkpoint's too."""
    return Generator(**generator_fields(config))


class TemporalGAN(RecurrentGAN):
    """Judges: `frame` and `sequence` (2018), or `frame`, `motion` and `sync` (2020)."""

    kinds: ClassVar = {
        "frame": (FrameDiscriminator, FrameJudge),
        "sequence": (SequenceDiscriminator, Judge),
        "motion": (MotionDiscriminator, MotionJudge),
        "sync": (SyncDiscriminator, SyncJudge),
    }

    def __init__(self, config: ml_collections.ConfigDict, cards: Cards) -> None:
        super().__init__(config, cards, network(config))

    def check(self) -> None:
        """Refuses a synchronisation discriminator that could not hear its five frames."""
        super().check()
        if "sync" not in self.config.judges:
            return
        samples, five = self.config.model.audio_samples, SNIPPET * self._hop()
        if samples != five:
            raise ValueError(
                f"config.judges.sync hears {SNIPPET} frames, {float(five):g} samples; set "
                f"config.model.audio_samples to that, it is {samples}"
            )
        if self.config.data.batch_size < 2:
            raise ValueError(
                "config.judges.sync needs other clips' sound; set config.data.batch_size to 2 or "
                "more"
            )

    def discriminator(self, network: type[nn.Module], fields: Mapping[str, Argument]) -> nn.Module:
        """See RecurrentGAN; those that hear, hear what the generator does."""
        if network in (SequenceDiscriminator, SyncDiscriminator):
            model = self.config.model
            fields = {
                **fields,
                "audio_rate": model.audio_rate,
                "audio_samples": model.audio_samples,
            }
        return super().discriminator(network, fields)

    def sound(self, clip: Clip, frames: range) -> np.ndarray:
        """Raw sound, float32 (frames, audio_samples), full scale 1."""
        model = self.config.model
        samples = clip.samples(model.audio_rate)
        return raw_windows(samples, model.audio_samples, self._hop(), frames)

    def _hop(self) -> Fraction:
        return Fraction(self.config.model.audio_rate) / Fraction(self.config.frame_rate)
