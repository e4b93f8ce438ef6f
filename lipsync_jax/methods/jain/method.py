"""The temporal GAN of Jain, Alvares, Andrades, Dsouza and Solanki, which hears MFCCs.

A discriminator of single frames and one of whole clips of any length, by pyramid pooling over time.
The text names no reconstruction loss: `l1_weight = 0` is the text to the letter.
"""

from typing import ClassVar

import ml_collections
import numpy as np

from lipsync_jax.data.audio_windows import mfcc_windows
from lipsync_jax.data.clip import Clip
from lipsync_jax.media import audio
from lipsync_jax.methods.common.discriminators import FrameJudge, Judge
from lipsync_jax.methods.common.recurrent_gan import RecurrentGAN, generator_fields
from lipsync_jax.methods.jain.model import FrameDiscriminator, Generator, SequenceDiscriminator
from lipsync_jax.types import Cards


def make(config: ml_collections.ConfigDict, cards: Cards) -> "Jain":
    """The method of a config."""
    return Jain(config, cards)


def network(config: ml_collections.ConfigDict) -> Generator:
    """The generator that a config describes."""
    return Generator(**generator_fields(config))


class Jain(RecurrentGAN):
    """Judges: `frame` and `sequence`."""

    kinds: ClassVar = {
        "frame": (FrameDiscriminator, FrameJudge),
        "sequence": (SequenceDiscriminator, Judge),
    }

    def __init__(self, config: ml_collections.ConfigDict, cards: Cards) -> None:
        super().__init__(config, cards, network(config))

    def sound(self, clip: Clip, frames: range) -> np.ndarray:
        """MFCCs divided by `config.mfcc_scale`, float32 (frames, 35, 12)."""
        mfcc = audio.syncnet_mfcc(audio.to_int16(clip.samples(audio.SAMPLE_RATE)))
        return mfcc_windows(mfcc, frames, self.config.frame_rate) / self.config.mfcc_scale
