"""Sync models: SyncNet v2 with the released weights, or a sync expert trained here."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from lipsync_jax.data import windows
from lipsync_jax.data.clip import CROP_SPECS
from lipsync_jax.media import audio
from lipsync_jax.methods.syncnet.model import SyncNetV2
from lipsync_jax.methods.wav2lip import sync_expert
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.provenance import metadata
from lipsync_jax.training import checkpoints
from lipsync_jax.types import Variables

FRAME_RATE = 25  # frames a second of the training data of both kinds
WINDOW_FRAMES = windows.SYNC_FRAMES
SAMPLES_PER_FRAME = audio.SAMPLE_RATE // FRAME_RATE
SYNCNET, EXPERT = "syncnet_v2", "sync_expert"
_BATCH_SIZE = {SYNCNET: 10, EXPERT: 32}  # windows
_MFCC_WINDOW, _MFCC_HOP = 20, 4  # columns of a window, and from one frame to the next


class SyncModel:
    """Embeds five consecutive frames and their audio; embeddings in sync have small distances.

    Attributes:
        kind: `syncnet_v2` or `sync_expert`; only the first gives LSE.
        model_hash: identifies the weights, see `metadata.model_hash`.
        size: rows and columns of the face crops.
        crop_style: `syncnet` (see `cropping.syncnet_boxes`) or `face` (see `faces.face_box`).
        crop: of the shards that it was trained on, see `clip.CROP_SPECS`; empty for SyncNet.
    """

    def __init__(
        self,
        kind: str,
        model_hash: str,
        size: int,
        video_encoder: Callable,
        audio_encoder: Callable,
        crop: str = "",
    ) -> None:
        self.kind, self.model_hash, self.size, self.crop = kind, model_hash, size, crop
        self.crop_style = "syncnet" if kind == SYNCNET else "face"
        self._video_encoder, self._audio_encoder = video_encoder, audio_encoder

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "SyncModel":
        """Loads a sync model.

        Args:
            directory: the folder that `lipsync convert syncnet_v2.model` wrote, or the workdir of a
                sync expert.

        Raises:
            FileNotFoundError: there is no checkpoint, or the checkpoint has no sync model.
            ValueError: the weights have other shapes than the network.
        """
        folder = checkpoints.resolve_checkpoint(directory)
        network = "syncnet" if (folder / "syncnet").is_dir() else "expert"
        if not (folder / network).is_dir():
            raise FileNotFoundError(
                f"checkpoint {directory} holds no sync model; give the folder that "
                "`lipsync convert syncnet_v2.model` wrote, or a run of configs/sync_expert.py"
            )
        if network == "syncnet":
            return _load_model(directory, SYNCNET, 224, *_syncnet_encoders())
        config = ml_collections.ConfigDict(checkpoints.read_model_card(directory)["config"])
        with checkpoints.raise_on_shape_mismatch(directory):
            crop, encoders = config.data.crop, _expert_encoders(config)
            size = CROP_SPECS[crop].height
        return _load_model(directory, EXPERT, size, *encoders, crop)

    def embed_video(self, crops: Iterable[np.ndarray]) -> np.ndarray:
        """Embeds a stream of images, of which one batch is in memory at a time.

        Args:
            crops: uint8 (size, size, 3) BGR, 25 a second.

        Returns:
            float32 (frames - 4, d), window i of frames i to i + 4; (0, 0) with fewer frames.
        """
        batch, buffer, embeddings = _BATCH_SIZE[self.kind], [], []
        for crop in crops:
            buffer.append(crop)
            if len(buffer) == batch + WINDOW_FRAMES - 1:
                embeddings.append(np.asarray(self._video_encoder(np.stack(buffer))))
                del buffer[:batch]
        if len(buffer) >= WINDOW_FRAMES:
            count = len(buffer) - WINDOW_FRAMES + 1
            buffer += buffer[-1:] * (batch + WINDOW_FRAMES - 1 - len(buffer))
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
        feature_windows = _mfcc_windows if self.kind == SYNCNET else _mel_windows
        features, batch = feature_windows(samples, count), _BATCH_SIZE[self.kind]
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
        mask = (starts >= 0) & (starts + WINDOW_FRAMES * SAMPLES_PER_FRAME <= len(samples))
        begin, end = starts[0], starts[-1] + (WINDOW_FRAMES + 1) * SAMPLES_PER_FRAME
        part = samples[max(begin, 0) : max(end, 0)]
        part = np.pad(part, (max(-begin, 0), 0))[: end - begin]
        return self.embed_audio(np.pad(part, (0, end - begin - len(part))), total), mask


def _load_model(
    directory: str | os.PathLike,
    kind: str,
    size: int,
    video_encoder: Callable,
    audio_encoder: Callable,
    crop: str = "",
) -> SyncModel:
    syncnet = kind == SYNCNET
    shape = (_MFCC_WINDOW, 13) if syncnet else (windows.MEL_WINDOW, audio.MEL_BINS)
    frames = jax.ShapeDtypeStruct((_BATCH_SIZE[kind] + WINDOW_FRAMES - 1, size, size, 3), jnp.uint8)
    audio_inputs = jax.ShapeDtypeStruct((_BATCH_SIZE[kind], *shape), jnp.float32)

    def check(variables: Variables) -> None:
        jax.eval_shape(video_encoder, variables, frames)
        jax.eval_shape(audio_encoder, variables, audio_inputs)

    network = "syncnet" if syncnet else "expert"
    variables, _ = checkpoints.load_network(directory, network, check)
    on_device = jax.device_put(variables)
    embed_video, embed_audio = jit(video_encoder), jit(audio_encoder)
    return SyncModel(
        kind,
        metadata.model_hash(variables),
        size,
        lambda frames: embed_video(on_device, frames),
        lambda features: embed_audio(on_device, features),
        crop,
    )


def _frame_windows(frames: jax.Array) -> jax.Array:
    """Returns windows of five frames, (n, h, w, 3) -> (n - 4, 5, h, w, 3) float32, 0 to 255."""
    index = jnp.arange(frames.shape[0] - WINDOW_FRAMES + 1)[:, None] + jnp.arange(WINDOW_FRAMES)
    return frames[index].astype(jnp.float32)


def _syncnet_encoders() -> tuple[Callable, Callable]:
    module: Any = SyncNetV2()  # `apply` is annotated as returning more than arrays

    def embed_video(variables: Variables, frames: jax.Array) -> jax.Array:
        return module.apply(variables, _frame_windows(frames), method="embed_lips")

    def embed_audio(variables: Variables, mfcc: jax.Array) -> jax.Array:
        return module.apply(variables, mfcc.swapaxes(1, 2)[..., None], method="embed_audio")

    return embed_video, embed_audio


def _expert_encoders(config: ml_collections.ConfigDict) -> tuple[Callable, Callable]:
    module: Any = sync_expert.network(config)  # likewise
    size = module.image_size

    # Each encoder runs with an empty input for the other, which the compiler removes.
    def embed_video(variables: Variables, frames: jax.Array) -> jax.Array:
        faces = sync_expert.stack_lower_half(_frame_windows(frames) / 255)
        silence = jnp.zeros((len(faces), audio.MEL_BINS, windows.MEL_WINDOW, 1))
        return module.apply(variables, silence, faces, train=False)[1]

    def embed_audio(variables: Variables, mel: jax.Array) -> jax.Array:
        faces = jnp.zeros((len(mel), size // 2, size, 3 * WINDOW_FRAMES))
        return module.apply(variables, sync_expert.mel_to_nhwc(mel), faces, train=False)[0]

    return embed_video, embed_audio


def _mfcc_windows(samples: np.ndarray, count: int) -> np.ndarray:
    mfcc = audio.syncnet_mfcc(audio.to_int16(samples)).astype(np.float32)
    silent = audio.syncnet_mfcc(np.zeros(400, np.int16))[0].astype(np.float32)
    needed = _MFCC_HOP * (count - 1) + _MFCC_WINDOW
    missing = np.tile(silent, (max(0, needed - len(mfcc)), 1))
    starts = _MFCC_HOP * np.arange(count)
    return np.concatenate([mfcc, missing])[starts[:, None] + np.arange(_MFCC_WINDOW)]


def _mel_windows(samples: np.ndarray, count: int) -> np.ndarray:
    starts = windows.mel_window_start(np.arange(count), FRAME_RATE)
    return windows.gather_windows(audio.mel_spectrogram(samples), starts)
