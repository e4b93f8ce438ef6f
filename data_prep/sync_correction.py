"""Audio offsets of face tracks by a sync model, while the frames of their video pass by.

Audio offsets are positive where the audio is later than the video.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lipsync_jax import faces, paths, weights
from lipsync_jax.data_prep import cropping
from lipsync_jax.data_prep.candidates import MeasuredOffset
from lipsync_jax.data_prep.settings import (
    BUILT_IN,
    FRAME_RATE,
    NO_SYNC_MODEL,
    ExtractionSettings,
)
from lipsync_jax.evaluation.metrics.lse import MAX_OFFSET
from lipsync_jax.evaluation.sync.offset import MIN_STABILITY
from lipsync_jax.text import naming_options
from lipsync_jax.training.checkpoint_folder import local_folder, resolve_checkpoint
from lipsync_jax.training.model_cards import card_path, network_names, network_path

if TYPE_CHECKING:  # JAX takes two seconds, which a run from the cache does not need
    from lipsync_jax.evaluation.sync.video_sync import TrackSync
    from lipsync_jax.evaluation.sync_models import SyncModel

# Reasons of a drop that `--low-sync-confidence keep` lifts: the offset of such clips is not known.
UNKNOWN_OFFSET = _UNCERTAIN, _NOT_MEASURED = "low sync confidence", "sync offset not measured"
MANY_DROPPED = 0.5  # fraction of the clips
_AUDIO_WINDOWS = 2000  # that are embedded at a time: 10 MB of features


def model_folder(settings: ExtractionSettings) -> Path | None:
    """Returns the folder of the sync model's checkpoint; None without one, or with a function.

    Raises:
        FileNotFoundError, ValueError: the folder does not exist or holds no checkpoint, see
            `resolve_checkpoint`; or there is no built-in model.
    """
    chosen = settings.sync_model
    if callable(chosen) or chosen == NO_SYNC_MODEL:
        return None
    named = None if chosen == BUILT_IN else chosen
    folder = weights.resolve(named, weights.SYNC, "--sync-model")
    if not local_folder(folder).exists():
        raise FileNotFoundError(
            f"`sync_model` {chosen} does not exist; name a run of configs/sync_expert.py, a folder "
            f"that `lipsync convert` wrote, {BUILT_IN} or {NO_SYNC_MODEL}"
        )
    with naming_options({"sync_model": folder}):
        return resolve_checkpoint(folder)


@functools.cache
def model_fingerprint(folder: Path) -> str:
    """Returns a hash of what is loaded of a checkpoint: its weights and its model card."""
    digest = hashlib.blake2b(digest_size=12)
    weights_of = (network_path(folder, name) for name in network_names(folder))
    for item in (*weights_of, card_path(folder)):
        for file in [item] if item.is_file() else [item / name for name in paths.files(item)]:
            digest.update(str(file.relative_to(folder)).encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def load_model(settings: ExtractionSettings) -> "SyncModel | None":
    """Loads the sync model, once a process, on the CPU; None without one.

    Raises:
        FileNotFoundError, ValueError: see `model_folder` and `SyncModel.load`.
    """
    if callable(settings.sync_model):
        return settings.sync_model()
    folder = model_folder(settings)
    return None if folder is None else _load(folder)


@functools.lru_cache(1)
def _load(folder: Path) -> "SyncModel":
    import jax

    from lipsync_jax.evaluation.sync_models import SyncModel

    # Several processes would share one accelerator, and its rounding differs.
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        return SyncModel.load(folder)


def drop_advice(rejected: Mapping[str, int], clips: int, least: float = MANY_DROPPED) -> str:
    """Returns what to do about clips that were dropped because their audio offset is not known.

    Args:
        rejected: reason -> number of clips.
        clips: number of clips that reached the stage `sync offset`.
        least: fraction of them, up to which there is no advice: the text is empty.
    """
    dropped = sum(rejected.get(reason, 0) for reason in UNKNOWN_OFFSET)
    if dropped <= least * clips:
        return ""
    return (
        f"{dropped} of {clips} clips were dropped because the sync model is not confident of their "
        "audio offset. If the videos are in sync, keep such clips as they are "
        "(--low-sync-confidence keep); else name a sync model that was trained on such faces "
        "(--sync-model DIR), or give videos with longer shots"
    )


def problem(found: MeasuredOffset, settings: ExtractionSettings) -> tuple[str, str] | None:
    """Returns why an offset can't be corrected, as (reason, detail), or None.

    An offset by SyncNet must have a confidence of `min_sync_confidence`. One by another model must
    be confident as for `lipsync sync`; or its prominence be at least `min_sync_prominence`, and
    MIN_STABILITY of the resamples of the track's seconds give it.
    """
    if found.frames is None:
        return _NOT_MEASURED, found.reason
    if found.crop_style == "syncnet":
        least = settings.min_sync_confidence
        if found.confidence < least:
            return _UNCERTAIN, f"{found.confidence:.1f}, of {least:g} needed"
    elif not found.is_confident:
        least = settings.min_sync_prominence
        is_stable = found.stability >= MIN_STABILITY and not found.at_limit
        if found.prominence < least or not is_stable:
            detail = f"prominence {found.prominence:.2f}, of {least:g} needed; stability "
            return _UNCERTAIN, f"{detail}{found.stability:.2f}, of {MIN_STABILITY:g}"
    if abs(found.frames) > settings.max_sync_offset:
        return "sync offset too large", f"{found.frames:+d} frames"
    return None


class TrackEmbeddings:
    """Embeds the crops of one track as they come, a batch of them in memory.

    Args:
        sync_model: embeds video and audio.
        track: the face.
        frames: numbers of the video's frames that will be given to `add`, in order.
        smoothing: see `cropping.crop_boxes`.
    """

    def __init__(
        self, sync_model: "SyncModel", track: faces.Track, frames: range, smoothing: int
    ) -> None:
        from lipsync_jax.evaluation import cropping as model_cropping
        from lipsync_jax.evaluation.sync.motion_offset import MouthMotion

        self.frames = frames
        self._model, self._crop = sync_model, model_cropping.crop_for_model
        boxes = (
            model_cropping.syncnet_boxes(track.boxes)
            if sync_model.crop_style == "syncnet"
            else cropping.crop_boxes(track, smoothing)
        )
        self._boxes = boxes[frames.start - track.start : frames.stop - track.start]
        self._motion, self._count = MouthMotion(), 0
        self._waiting: list[np.ndarray] = []
        self._video: list[np.ndarray] = []
        self._batch = sync_model.inference.batch_size + sync_model.window_frames - 1

    def add(self, rgb: np.ndarray) -> None:
        """Takes the next frame, uint8 RGB (height, width, 3)."""
        box = self._boxes[self._count]
        crop = self._crop(rgb, box, self._model.size, self._model.crop_style)
        self._waiting += self._motion.watch([crop])
        self._count += 1
        if len(self._waiting) == self._batch:
            self._embed()
            del self._waiting[: self._batch - self._model.window_frames + 1]

    def _embed(self) -> None:
        found = self._model.embed_video(self._waiting)
        if len(found):
            self._video.append(found)

    def measure(self, samples: np.ndarray) -> "MeasuredTrack":
        """Measures the audio offset once all frames have been added.

        Args:
            samples: float32 (samples,), the video's audio at 16 kHz.
        """
        from lipsync_jax.evaluation.sync import offset, video_sync
        from lipsync_jax.evaluation.sync_models import SAMPLES_PER_FRAME

        if len(self._waiting) >= self._model.window_frames:
            self._embed()
        first = self.frames.start * SAMPLES_PER_FRAME
        span = float(self.frames.start / FRAME_RATE), float(self.frames.stop / FRAME_RATE)
        windows = sum(len(part) for part in self._video)
        audio, mask = self._embed_audio(samples, first, windows)
        video = np.concatenate([np.zeros((0, audio.shape[1]), audio.dtype), *self._video])
        try:
            found, reason = offset.measure(video, audio, mask, MAX_OFFSET), ""
        except ValueError as error:
            found, reason = None, str(error)
        vote = video_sync.motion_vote(self._motion, samples, first, MAX_OFFSET)
        track = video_sync.TrackSync(0, *span, found, reason, vote)
        return MeasuredTrack(self.frames, track, video, audio, mask)

    def _embed_audio(
        self, samples: np.ndarray, first: int, windows: int
    ) -> tuple[np.ndarray, np.ndarray]:
        from lipsync_jax.evaluation.sync_models import SAMPLES_PER_FRAME

        total = windows + 2 * MAX_OFFSET
        first -= MAX_OFFSET * SAMPLES_PER_FRAME
        parts = [
            self._model.embed_audio_with_offsets(
                samples, first + k * SAMPLES_PER_FRAME, min(_AUDIO_WINDOWS, total - k), 0
            )
            for k in range(0, total, _AUDIO_WINDOWS)
        ]
        embeddings, masks = zip(*parts, strict=True)
        return np.concatenate(embeddings), np.concatenate(masks)


@dataclasses.dataclass(frozen=True, eq=False)
class MeasuredTrack:
    """The audio offset of a track, and the embeddings that it is from.

    Attributes:
        frames: numbers of the measured frames.
        sync: the offset, see `video_sync.TrackSync`.
        video: (windows, d) embeddings.
        audio: (windows + 2 * MAX_OFFSET, d) embeddings.
        mask: bool (windows + 2 * MAX_OFFSET,), whether there is audio.
    """

    frames: range
    sync: "TrackSync"
    video: np.ndarray
    audio: np.ndarray
    mask: np.ndarray

    def offset(self, crop_style: str) -> MeasuredOffset:
        """Returns the offset alone; `crop_style` is that of the sync model."""
        found = self.sync.av_offset
        if found is None:
            return MeasuredOffset(crop_style, reason=self.sync.reason)
        return MeasuredOffset(
            crop_style,
            int(found.frames),
            float(found.subframe),
            float(found.confidence),
            float(found.prominence),
            float(found.stability),
            bool(found.at_limit),
            bool(self.sync.is_confident),
        )

    def relative_prominence(self, first: int, last: int) -> float:
        """Computes how much the track's offset stands out in some of its frames.

        Args:
            first: number of the first frame.
            last: number of the frame after the last.

        Returns:
            The prominence at the track's offset in these frames, divided by that in the track:
            about 1 where the audio is of this face, about 0 where it is of someone else; NaN where
            too few windows have audio, or nothing stands out in the track.
        """
        from lipsync_jax.evaluation.sync import offset

        whole = self.sync.av_offset
        if whole is None or not whole.prominence:
            return float("nan")
        start = max(first - self.frames.start, 0)
        stop = min(last - self.frames.start, len(self.video))
        part = slice(start, max(stop, start) + 2 * MAX_OFFSET)
        try:
            found = offset.measure(
                self.video[start:stop], self.audio[part], self.mask[part], MAX_OFFSET
            )
        except ValueError:
            return float("nan")
        distance = found.distances[whole.frames + MAX_OFFSET]
        return float((1 - distance / np.nanmedian(found.distances)) / whole.prominence)
