"""Sync models: any method with `SyncInference`, loaded and compiled."""

import os
from collections.abc import Callable, Iterable
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

from lipsync_jax.media import audio
from lipsync_jax.methods.inference import SyncInference
from lipsync_jax.nn import folding
from lipsync_jax.provenance import metadata
from lipsync_jax.training.inference import load_inference, load_network, read_model_card
from lipsync_jax.training.inference_function import InferenceFunction
from lipsync_jax.types import Variables

FRAME_RATE = 25  # frames a second at which faces are evaluated
SAMPLES_PER_FRAME = audio.SAMPLE_RATE // FRAME_RATE


class SyncModel:
    """Embeds consecutive frames and their audio; embeddings in sync have small distances.

    Attributes:
        inference: the network, and what its windows are.
        model_hash: identifies the weights, see `metadata.model_hash`.
    """

    def __init__(
        self,
        inference: SyncInference,
        model_hash: str,
        video_encoder: Callable[[np.ndarray], jax.Array | np.ndarray],
        audio_encoder: Callable[[np.ndarray], jax.Array | np.ndarray],
    ) -> None:
        """Stores the arguments.

        Args:
            inference: of the network.
            model_hash: of the weights.
            video_encoder: uint8 (batch + window_frames - 1, size, size, 3) BGR, consecutive frames
                -> embeddings (batch, d) of their windows; batch is `inference.batch_size`.
            audio_encoder: float32 (batch, columns, bins) -> embeddings (batch, d).
        """
        self.inference, self.model_hash = inference, model_hash
        self._video_encoder, self._audio_encoder = video_encoder, audio_encoder

    @property
    def kind(self) -> str:
        """Name of the network."""
        return self.inference.name

    @property
    def size(self) -> int:
        """Rows and columns of the face crops."""
        return self.inference.image_size

    @property
    def crop_style(self) -> str:
        """`syncnet` (see `cropping.syncnet_boxes`) or `face` (see `faces.face_box`)."""
        return self.inference.crop_style

    @property
    def crop(self) -> str:
        """Crop of the shards that it was trained on, see `clip.CROP_SPECS`; empty for SyncNet."""
        return self.inference.crop

    @property
    def window_frames(self) -> int:
        """Frames of a window."""
        return self.inference.window_frames

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "SyncModel":
        """Loads a sync model.

        Args:
            directory: the folder that `lipsync convert syncnet_v2.model` wrote, or the workdir of a
                sync expert.

        Raises:
            FileNotFoundError: there is no checkpoint, or it lacks the sync model.
            ValueError: its method is no sync model, or the weights have other shapes than the
                network.
        """
        inference = load_inference(
            directory,
            SyncInference,
            "which is no sync model; give the folder that `lipsync convert syncnet_v2.model` "
            "wrote, or a run of configs/sync_expert.py",
        )
        batch, size, features = (
            inference.batch_size,
            inference.image_size,
            inference.audio_features,
        )
        frames = jax.ShapeDtypeStruct(
            (batch + inference.window_frames - 1, size, size, 3), jnp.uint8
        )
        audio_inputs = jax.ShapeDtypeStruct((batch, features.window, features.bins), jnp.float32)

        layers: folding.Layers = {}

        def video_encoder(variables: Variables, frames: jax.Array) -> jax.Array:
            windows = _frame_windows(frames, inference.window_frames)
            with folding.skip_batch_norm() as found:
                embeddings = inference.embed_video(variables, windows)
            layers.update(found)
            return embeddings

        def audio_encoder(variables: Variables, features: jax.Array) -> jax.Array:
            with folding.skip_batch_norm() as found:
                embeddings = inference.embed_audio(variables, features)
            layers.update(found)
            return embeddings

        config = read_model_card(directory)["config"]
        embed_video, embed_audio = (
            InferenceFunction(encoder, layers, [encoder.__name__, config])
            for encoder in (video_encoder, audio_encoder)
        )

        def check(variables: Variables) -> None:
            embed_video.prepare(variables, frames)
            embed_audio.prepare(variables, audio_inputs)

        variables, _ = load_network(directory, inference.network, check)
        on_device = jax.device_put(folding.fold_batch_norm(variables, layers))
        return cls(
            inference,
            metadata.model_hash(variables),
            lambda frames: embed_video(on_device, frames),
            lambda features: embed_audio(on_device, features),
        )

    def embed_video(self, crops: Iterable[np.ndarray]) -> np.ndarray:
        """Embeds a stream of images, of which one batch is in memory at a time.

        Args:
            crops: uint8 (size, size, 3) BGR, 25 a second.

        Returns:
            float32 (windows, d), window i begins with frame i; (0, 0) with fewer frames than a
            window has.
        """
        batch, buffer, embeddings = self.inference.batch_size, [], []
        for crop in crops:
            buffer.append(crop)
            if len(buffer) == batch + self.window_frames - 1:
                embeddings.append(np.asarray(self._video_encoder(np.stack(buffer))))
                del buffer[:batch]
        if len(buffer) >= self.window_frames:
            count = len(buffer) - self.window_frames + 1
            buffer += buffer[-1:] * (batch + self.window_frames - 1 - len(buffer))
            embeddings.append(np.asarray(self._video_encoder(np.stack(buffer)))[:count])
        return np.concatenate(embeddings) if embeddings else np.zeros((0, 0), np.float32)

    def embed_audio(self, samples: np.ndarray, count: int) -> np.ndarray:
        """Embeds the audio of windows.

        Args:
            samples: float32 (samples,), 16 kHz; the first sample is at the time of window 0's first
                frame.
            count: windows, one frame apart; windows beyond the end are padded with silence.

        Returns:
            float32 (count, d).
        """
        spec, batch = self.inference.audio_features, self.inference.batch_size
        starts = spec.window_starts([Fraction(i, FRAME_RATE) for i in range(count)])
        features = spec.gather(spec.compute(samples), starts)
        padded = np.pad(features, [(0, -count % batch), (0, 0), (0, 0)])
        parts = [self._audio_encoder(padded[i : i + batch]) for i in range(0, len(padded), batch)]
        return np.concatenate([np.asarray(part) for part in parts])[:count]

    def embed_audio_with_offsets(
        self, samples: np.ndarray, audio_start: int, count: int, max_offset: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Embeds the audio of windows, and of windows up to `max_offset` frames before and after.

        Args:
            samples: float32 (samples,), 16 kHz.
            audio_start: index of the sample at the time of window 0's first frame; may be negative.
            count: windows.
            max_offset: largest offset, frames.

        Returns:
            float32 (count + 2 * max_offset, d), row i + max_offset at window i's time; and bool,
            whether the samples cover that window.
        """
        total = count + 2 * max_offset
        starts = audio_start - max_offset * SAMPLES_PER_FRAME + SAMPLES_PER_FRAME * np.arange(total)
        mask = (starts >= 0) & (starts + self.window_frames * SAMPLES_PER_FRAME <= len(samples))
        begin, end = starts[0], starts[-1] + (self.window_frames + 1) * SAMPLES_PER_FRAME
        part = samples[max(begin, 0) : max(end, 0)]
        part = np.pad(part, (max(-begin, 0), 0))[: end - begin]
        return self.embed_audio(np.pad(part, (0, end - begin - len(part))), total), mask


def _frame_windows(frames: jax.Array, length: int) -> jax.Array:
    """Returns all windows of frames, uint8 (n, h, w, 3) -> float32 (windows, length, h, w, 3)."""
    index = jnp.arange(frames.shape[0] - length + 1)[:, None] + jnp.arange(length)
    return frames[index].astype(jnp.float32) / 255
