"""Inference of SyncNet v2 (Chung and Zisserman 2016) with the released weights."""

from fractions import Fraction
from typing import Any, ClassVar

import jax
import numpy as np

from lipsync_jax.data.audio_features import AudioFeatureSpec
from lipsync_jax.media import audio
from lipsync_jax.methods.inference import SyncInference
from lipsync_jax.methods.syncnet.model import SyncNetV2
from lipsync_jax.types import ModelCard, Variables

_MFCC_SAMPLES = 400  # of one column


def make(model_card: ModelCard) -> "SyncNetInference":
    """Returns the inference; a checkpoint has no settings."""
    del model_card
    return SyncNetInference()


class SyncNetInference(SyncInference):
    """Five frames and 0.2 s of MFCCs; distances are LSE-D and LSE-C (Prajwal et al. 2020)."""

    network: ClassVar = "syncnet"
    name: ClassVar = "syncnet_v2"
    window_frames = 5
    image_size = 224
    crop_style = "syncnet"
    gives_lse = True
    batch_size = 10

    def __init__(self) -> None:
        silence = _mfcc(np.zeros(_MFCC_SAMPLES, np.float32))[0]
        self.audio_features = AudioFeatureSpec(
            name="syncnet_mfcc",
            rate=100,
            bins=13,
            window=20,
            lookback=Fraction(0),
            silence=tuple(silence.tolist()),
            compute=_mfcc,
            left_context=1,
            right_context=2,
        )
        self._module: Any = SyncNetV2()  # `apply` is annotated as returning more than arrays

    def embed_video(self, variables: Variables, windows: jax.Array) -> jax.Array:
        """See `SyncInference`."""
        return self._module.apply(variables, windows * 255, method="embed_lips")

    def embed_audio(self, variables: Variables, windows: jax.Array) -> jax.Array:
        """See `SyncInference`."""
        return self._module.apply(
            variables, windows.swapaxes(1, 2)[..., None], method="embed_audio"
        )


def _mfcc(samples: np.ndarray) -> np.ndarray:
    return audio.syncnet_mfcc(audio.to_int16(samples)).astype(np.float32)
