"""The temporal GAN of Jain, Alvares, Andrades, Dsouza and Solanki, with MFCC input.

A discriminator of single frames and one of whole clips of any length, by pyramid pooling over time.
The text names no reconstruction loss: `config.loss.l1 = 0` follows the text.
"""

from typing import ClassVar

import ml_collections
import numpy as np

from lipsync_jax.data.audio_windows import mfcc_windows
from lipsync_jax.data.clip import Clip
from lipsync_jax.media import audio
from lipsync_jax.methods.common.discriminators import DiscriminatorLoss, FrameDiscriminatorLoss
from lipsync_jax.methods.common.recurrent_gan import RecurrentGAN, generator_kwargs
from lipsync_jax.methods.jain.model import FrameDiscriminator, Generator, SequenceDiscriminator
from lipsync_jax.types import ModelCards


def make(config: ml_collections.ConfigDict, model_cards: ModelCards) -> "Jain":
    """Returns the method of a config."""
    return Jain(config, model_cards)


def network(config: ml_collections.ConfigDict) -> Generator:
    """Returns the generator of a config."""
    return Generator(**generator_kwargs(config))


class Jain(RecurrentGAN):
    """Discriminators: `frame` and `sequence`."""

    discriminator_registry: ClassVar = {
        "frame": (FrameDiscriminator, FrameDiscriminatorLoss),
        "sequence": (SequenceDiscriminator, DiscriminatorLoss),
    }

    def __init__(self, config: ml_collections.ConfigDict, model_cards: ModelCards) -> None:
        super().__init__(config, model_cards, network(config))

    def audio_windows(self, clip: Clip, frames: range) -> np.ndarray:
        """Returns MFCCs divided by `config.audio_std`, float32 (frames, 35, 12)."""
        mfcc = audio.syncnet_mfcc(audio.to_int16(clip.samples(audio.SAMPLE_RATE)))
        return mfcc_windows(mfcc, frames, self.config.frame_rate) / self.config.audio_std
