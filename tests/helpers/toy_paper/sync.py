"""Training and inference of a toy sync model: three frames, 0.125 s of log-mel."""

import dataclasses
from fractions import Fraction

import flax.linen as nn

from lipsync_jax.data.audio_features import MEL
from lipsync_jax.losses import l2_normalize
from lipsync_jax.methods.common.sync_expert_method import SyncExpertMethod
from lipsync_jax.methods.common.two_stream_sync import TwoStreamSyncInference


class Expert(nn.Module):
    @nn.compact
    def __call__(self, audio, frames, train=False):
        return self._embed(audio, "audio"), self._embed(frames, "video")

    def _embed(self, x, name):
        if x is None:
            return None
        return l2_normalize(nn.relu(nn.Dense(8, name=name)(x.reshape(len(x), -1))) + 1e-3)


def make(config_or_card, model_cards=None) -> "ToySync":
    if model_cards is None:
        return ToySync()
    return SyncExpertMethod(config_or_card, model_cards, ToySync())


class ToySync(TwoStreamSyncInference):
    name, window_frames, image_size, crop = "toy_sync", 3, 96, "face96"
    audio_features = dataclasses.replace(MEL, window=10, lookback=Fraction(0))
    module = Expert()

    def video_inputs(self, frames):
        return frames[:, :, 48::4, ::4].mean(axis=-1) - 0.5
