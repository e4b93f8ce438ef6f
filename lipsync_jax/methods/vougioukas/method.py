"""Speech-driven faces with temporal GANs (Vougioukas, Petridis, Pantic 2018 and 2020).

2018: a discriminator of single frames and one of whole clips with their audio. 2020: three, of
frames, of motion, and of the sync of mouth and audio. Both add the L1 loss of the lower half of the
face with weight `config.loss.l1`. The systems of configs/vougioukas.py are the papers' ablations.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import ClassVar

import flax.linen as nn
import ml_collections
import numpy as np

from lipsync_jax.data.audio_windows import waveform_windows
from lipsync_jax.data.clip import Clip
from lipsync_jax.methods.common.discriminators import (
    DiscriminatorLoss,
    FrameDiscriminatorLoss,
    MotionDiscriminatorLoss,
    SyncDiscriminatorLoss,
)
from lipsync_jax.methods.common.recurrent_gan import RecurrentGAN, generator_kwargs
from lipsync_jax.methods.vougioukas.model import (
    SYNC_WINDOW,
    FrameDiscriminator,
    Generator,
    MotionDiscriminator,
    SequenceDiscriminator,
    SyncDiscriminator,
)
from lipsync_jax.types import Argument, ModelCards


def make(config: ml_collections.ConfigDict, model_cards: ModelCards) -> "VougioukasGAN":
    """Returns the method of a config."""
    return VougioukasGAN(config, model_cards)


def network(config: ml_collections.ConfigDict) -> Generator:
    """Returns the generator of a config, also of a converted checkpoint's config."""
    return Generator(**generator_kwargs(config))


class VougioukasGAN(RecurrentGAN):
    """Discriminators: `frame`, `sequence` (2018), or `frame`, `motion`, `sync` (2020)."""

    discriminator_registry: ClassVar = {
        "frame": (FrameDiscriminator, FrameDiscriminatorLoss),
        "sequence": (SequenceDiscriminator, DiscriminatorLoss),
        "motion": (MotionDiscriminator, MotionDiscriminatorLoss),
        "sync": (SyncDiscriminator, SyncDiscriminatorLoss),
    }

    def __init__(self, config: ml_collections.ConfigDict, model_cards: ModelCards) -> None:
        super().__init__(config, model_cards, network(config))

    def validate_config(self) -> None:
        """Raises ValueError where the sync discriminator has no audio window of five frames."""
        super().validate_config()
        if "sync" not in self.config.discriminators:
            return
        samples, required = self.config.model.audio_samples, SYNC_WINDOW * self._hop()
        if samples != required:
            raise ValueError(
                f"config.discriminators.sync needs the audio of {SYNC_WINDOW} frames, "
                f"{float(required):g} samples; change config.model.audio_samples={samples}"
            )
        if self.config.data.batch_size < 2:
            raise ValueError(
                "config.discriminators.sync takes the audio of other clips as negatives; set "
                "config.data.batch_size to 2 or more"
            )

    def make_discriminator(
        self, network: type[nn.Module], kwargs: Mapping[str, Argument]
    ) -> nn.Module:
        """See RecurrentGAN; discriminators with audio take the audio windows of the generator."""
        if network in (SequenceDiscriminator, SyncDiscriminator):
            model = self.config.model
            kwargs = {
                **kwargs,
                "audio_rate": model.audio_rate,
                "audio_samples": model.audio_samples,
            }
        return super().make_discriminator(network, kwargs)

    def audio_windows(self, clip: Clip, frames: range) -> np.ndarray:
        """Returns raw audio, float32 (frames, audio_samples), full scale 1."""
        model = self.config.model
        samples = clip.samples(model.audio_rate)
        return waveform_windows(samples, model.audio_samples, self._hop(), frames)

    def _hop(self) -> Fraction:
        return Fraction(self.config.model.audio_rate) / Fraction(self.config.frame_rate)
