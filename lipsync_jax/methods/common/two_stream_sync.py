"""Inference of sync models whose module embeds audio and frames in one call."""

import abc
from typing import Any

import jax

from lipsync_jax.data import windows
from lipsync_jax.methods.inference import SyncInference
from lipsync_jax.types import Variables


class TwoStreamSyncInference(SyncInference):
    """A sync model whose module is called with inputs of both encoders.

    Attributes:
        module: called as `module(audio, frames, train=...)` -> audio and video embedding of length
            1; its inputs come from `audio_inputs` and `video_inputs`. None for an input leaves its
            encoder out, and its embedding is None.
    """

    module: Any  # an nn.Module; its `apply` is annotated as returning more than arrays

    @abc.abstractmethod
    def video_inputs(self, frames: jax.Array) -> jax.Array:
        """Converts windows of whole faces, see `embed_video`, to the module's input."""

    def audio_inputs(self, audio: jax.Array) -> jax.Array:
        """Converts windows of audio features to the module's input: bins become rows."""
        return windows.windows_to_nhwc(audio)

    def embed_video(self, variables: Variables, windows: jax.Array) -> jax.Array:
        """See `SyncInference`."""
        return self.module.apply(variables, None, self.video_inputs(windows), train=False)[1]

    def embed_audio(self, variables: Variables, windows: jax.Array) -> jax.Array:
        """See `SyncInference`."""
        return self.module.apply(variables, self.audio_inputs(windows), None, train=False)[0]

    def embed(
        self,
        variables: Variables,
        frames: jax.Array,
        audio: jax.Array,
        use_batch_stats: bool = False,
    ) -> tuple[jax.Array, jax.Array]:
        """See `SyncInference`."""
        inputs = self.audio_inputs(audio), self.video_inputs(frames)
        if use_batch_stats:
            outputs, _ = self.module.apply(variables, *inputs, train=True, mutable=["batch_stats"])
        else:
            outputs = self.module.apply(variables, *inputs, train=False)
        audio_embeddings, video_embeddings = outputs
        return video_embeddings, audio_embeddings
