"""All metrics of one clip.

Audio offsets are positive where the audio is later than the video.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lipsync_jax import faces
from lipsync_jax.evaluation import cropping, image_pairs
from lipsync_jax.evaluation.clip_windows import (
    WINDOW_FRAMES,
    WindowFeatures,
    mean_or_nan,
    window_indices,
    window_metrics,
)
from lipsync_jax.evaluation.face_clip import FaceClip
from lipsync_jax.evaluation.landmarks import Landmarks
from lipsync_jax.evaluation.lip_points import LIP_SIZE, LipLandmarks
from lipsync_jax.evaluation.lip_reading import LipReadingModel
from lipsync_jax.evaluation.metrics import acd, blinks, cpbd, fdbm, lipleak, lmd, lse
from lipsync_jax.evaluation.metrics.luminance import luminance
from lipsync_jax.evaluation.protocol import Protocol
from lipsync_jax.evaluation.sync import offset
from lipsync_jax.evaluation.sync_models import SAMPLES_PER_FRAME, SyncModel
from lipsync_jax.methods.common.validation_metrics import mouth_absolute_error
from lipsync_jax.methods.lip_reader.method import crop_mouths


@dataclasses.dataclass(frozen=True)
class ClipFeatures:
    """What metrics need of one clip.

    Attributes:
        faces: uint8 (n, size, size, 3) BGR, the crops.
        landmarks: float32 (n, 68, 2), crop pixels, NaN where no face was found; None without a
            landmark model.
        embeddings: float32 (m, d), face embeddings of every `Protocol.embed_every`-th frame; None
            without a landmark model.
        metrics: the metrics that need no reference.
        transcript: words that the lip reader recognised; None without one.
        region: what the crops show, see `FaceClip.region`.
        windows: of crops of lips.
    """

    faces: np.ndarray
    landmarks: np.ndarray | None
    embeddings: np.ndarray | None
    metrics: Mapping[str, float]
    transcript: str | None = None
    region: str = "face"
    windows: WindowFeatures | None = None


class Evaluator:
    """Computes the metrics of clips under a protocol."""

    def __init__(
        self,
        protocol: Protocol,
        sync_model: SyncModel | None,
        landmarks: Landmarks | None,
        lip_reader: LipReadingModel | None = None,
        lip_landmarks: LipLandmarks | None = None,
    ) -> None:
        """Stores the models; the metrics of a model that is None are left out.

        `landmarks` are those of faces, `lip_landmarks` those of crops of lips.
        """
        self.protocol, self.sync_model, self.landmarks, self.lip_reader, self.lip_landmarks = (
            protocol,
            sync_model,
            landmarks,
            lip_reader,
            lip_landmarks,
        )

    def extract(self, clip: FaceClip) -> ClipFeatures:
        """Reads a clip once, and computes the metrics that need no reference."""
        size, crops, points, embeddings, mouth_crops = self.protocol.crop_size, [], [], [], []
        lips: list[np.ndarray] = []
        crop_style = self.protocol.sync_crop
        sync_crop = clip.sync_crop_fn(self.sync_model, crop_style) if self.sync_model else None
        lip_reader_crop = (
            clip.sync_crop_fn(self.lip_reader, crop_style) if self.lip_reader else None
        )

        def sync_crops() -> Iterator[Any]:  # crops of the sync model; None without one
            for i, image in enumerate(clip.read_frames()):
                crops.append(clip.crop(image, i, size))
                if self.landmarks and clip.region != "lips":
                    points.append(self._landmarks_in_crop(image, clip, i))
                    if i % self.protocol.embed_every == 0:
                        embeddings.append(self._embedding(image, clip, i))
                if self.lip_landmarks and clip.region == "lips":
                    lips.append(clip.crop(image, i, LIP_SIZE))
                if lip_reader_crop:
                    mouth_crops.append(crop_mouths(lip_reader_crop(image, i)[None])[0])
                yield sync_crop(image, i) if sync_crop else None

        if self.sync_model:
            metrics = self._sync_metrics(self.sync_model.embed_video(sync_crops()), clip)
        else:
            metrics = {}
            for _ in sync_crops():
                pass
        stacked = np.stack(crops)
        grey = luminance(stacked)
        sharpness = cpbd.cpbd(grey)
        metrics |= {"cpbd": float(sharpness.mean()), "fdbm": float(fdbm.fdbm(grey).mean())}
        if clip.region == "lips":
            landmarks = self._mouth_landmarks(lips)
            windows, metrics["cpbd_windows"] = self._windows(clip, stacked, landmarks, sharpness)
            return ClipFeatures(stacked, landmarks, None, metrics, None, clip.region, windows)
        landmarks = np.stack(points) if points else None
        if landmarks is not None and np.isfinite(landmarks).any():
            found = blinks.blinks(blinks.eye_aspect_ratio(landmarks), self.protocol.frame_rate)
            metrics |= {"blink_rate": found.rate, "blink_duration": found.duration}
        transcript = self.lip_reader.transcribe(mouth_crops) if self.lip_reader else None
        embedded = np.stack(embeddings) if embeddings else None
        return ClipFeatures(stacked, landmarks, embedded, metrics, transcript, clip.region)

    def reference_metrics(
        self, generated: ClipFeatures, reference: ClipFeatures
    ) -> tuple[dict[str, float], np.ndarray | None]:
        """Computes the metrics of a generated clip against its reference, over their common frames.

        ACD compares with the reference's first embedding of a face.

        Returns:
            The metrics; and each frame's landmark distance, None without landmarks.
        """
        n = min(len(generated.faces), len(reference.faces))
        a, b, lips = generated.faces[:n], reference.faces[:n], reference.region == "lips"
        metrics = {
            **image_pairs.psnr_and_ssim(a, b, self.protocol.ssim_window),
            "mouth_l1": float(image_pairs.map_batches(_l1 if lips else _mouth_l1, a, b).mean()),
        }
        distances = None
        if generated.landmarks is not None and reference.landmarks is not None:
            reference_points, generated_points = (
                points[:n, lmd.MOUTH] for points in (reference.landmarks, generated.landmarks)
            )
            found = lmd.lmd(reference_points, generated_points, self.protocol.lmd_variant)
            distances = found.frames
            metrics |= {"lmd": found.value, "landmarks_detected": found.detected}
        if generated.windows is not None and reference.windows is not None:
            metrics |= window_metrics(generated.windows, reference.windows, self.protocol)
        if generated.embeddings is not None and reference.embeddings is not None:
            with_face = np.isfinite(reference.embeddings).all(axis=1)
            # Row 0, of NaN, where no frame has a face.
            reference_embedding = reference.embeddings[with_face.argmax()]
            for name, distance in (("acd_c", "cosine"), ("acd_e", "euclidean")):
                metrics[name] = acd.acd(generated.embeddings, reference_embedding, distance)
        return metrics, distances

    def lipleak(self, silent: ClipFeatures, driven: ClipFeatures) -> dict[str, float]:
        """Computes LipLeak from a clip generated from silence and one generated from speech."""
        if silent.landmarks is None or driven.landmarks is None or driven.region == "lips":
            return {}
        openings = (
            lipleak.mouth_opening(points) for points in (silent.landmarks, driven.landmarks)
        )
        return {"lipleak": lipleak.lipleak(*openings)}

    def _mouth_landmarks(self, lips: list[np.ndarray]) -> np.ndarray | None:
        """Returns the landmarks of crops of lips, NaN but for the mouth; see `ClipFeatures`."""
        if not self.lip_landmarks or not len(lips):
            return None
        landmarks = np.full((len(lips), 68, 2), np.nan, np.float32)
        landmarks[:, lmd.MOUTH] = self.lip_landmarks(np.stack(lips))
        return landmarks

    def _windows(
        self,
        clip: FaceClip,
        crops: np.ndarray,
        landmarks: np.ndarray | None,
        sharpness: np.ndarray,
    ) -> tuple[WindowFeatures, float]:
        """Returns the windows of a clip of lips, and their mean CPBD; NaN without windows."""
        indices = window_indices(len(crops))
        if clip.windows is None:  # windows of the whole clip
            points = None if landmarks is None else landmarks[indices]
            return WindowFeatures(crops[indices], points), mean_or_nan(sharpness[indices])
        images = clip.windows[: len(indices)]
        frames = images.reshape(-1, *images.shape[2:])
        full = clip.boxes[0]  # the whole image, see `face_clip.from_clip`
        faces_, lips = (
            [cropping.crop_bgr(image, full, size) for image in frames]
            for size in (self.protocol.crop_size, LIP_SIZE)
        )
        shape = len(images), WINDOW_FRAMES
        if not len(frames):
            return WindowFeatures(crops[indices][:0], None), float("nan")
        stacked, found = np.stack(faces_), self._mouth_landmarks(lips)
        return WindowFeatures(
            stacked.reshape(*shape, *stacked.shape[1:]),
            None if found is None else found.reshape(*shape, *found.shape[1:]),
        ), mean_or_nan(cpbd.cpbd(luminance(stacked)))

    def _sync_metrics(self, video_embeddings: np.ndarray, clip: FaceClip) -> dict[str, float]:
        assert self.sync_model is not None  # `extract` checks
        max_offset, window = self.protocol.offset_range, self.sync_model.window_frames
        if not len(video_embeddings):
            raise ValueError(
                f"the clip has {len(clip)} frames, too few for windows of {window}; give a longer "
                "clip"
            )
        if not self.sync_model.inference.gives_lse:
            audio_embeddings, mask = self.sync_model.embed_audio_with_offsets(
                clip.samples, clip.audio_start, len(video_embeddings), max_offset
            )
            found = offset.measure(video_embeddings, audio_embeddings, mask, max_offset)
            return {
                "sync_d": found.distance,
                "sync_c": found.confidence,
                "sync_offset": found.subframe,
                "sync_prominence": found.prominence,
                "sync_in_sync": self._in_sync(found.frames, found.prominence),
            }
        # As the released code: one window fewer than there are, and zeros beyond the ends.
        audio_frames = (len(clip.samples) - clip.audio_start) // SAMPLES_PER_FRAME
        count = min(len(video_embeddings) + window - 1, audio_frames) - window
        if count < 1:
            raise ValueError(
                f"the clip has {audio_frames} frames of audio, too few for SyncNet; give a longer "
                "clip"
            )
        samples = clip.samples[clip.audio_start :][
            : (len(video_embeddings) + window) * SAMPLES_PER_FRAME
        ]
        lse_result = lse.lse(
            video_embeddings[:count], self.sync_model.embed_audio(samples, count), max_offset
        )
        prominence = lse_result.confidence / (lse_result.confidence + lse_result.distance)
        return {
            "lse_d": lse_result.distance,
            "lse_c": lse_result.confidence,
            "syncnet_offset": float(lse_result.offset),
            "syncnet_prominence": prominence,
            "syncnet_in_sync": self._in_sync(lse_result.offset, prominence),
        }

    def _in_sync(self, frames: float, prominence: float) -> float:
        """Returns 1 if the offset is prominent and small; a static mouth has a random offset."""
        return (
            offset.offset_accuracy([frames]) if prominence >= self.protocol.min_prominence else 0.0
        )

    def _landmarks_in_crop(self, image: np.ndarray, clip: FaceClip, index: int) -> np.ndarray:
        if not clip.face_present[index]:
            return np.full((68, 2), np.nan, np.float32)
        assert self.landmarks is not None  # `extract` checks
        box = clip.boxes[index]
        found = self.landmarks.points(image, _landmark_box(clip, index))
        # dlib's integers are pixel centres; here integers are pixel corners.
        return faces.to_crop(found + 0.5, box, self.protocol.crop_size)

    def _embedding(self, image: np.ndarray, clip: FaceClip, index: int) -> np.ndarray:
        if not clip.face_present[index]:
            return np.full(128, np.nan, np.float32)
        assert self.landmarks is not None  # `extract` checks
        return self.landmarks.embedding(image, _landmark_box(clip, index))


@jax.jit
def _l1(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.mean(jnp.abs(a / 255 - b / 255), axis=(1, 2, 3))  # uint8 subtraction wraps around


def _mouth_l1(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.mean(mouth_absolute_error(a / 255, b / 255), axis=(1, 2, 3))


def _landmark_box(clip: FaceClip, index: int) -> np.ndarray:
    """Returns the detector's box, or for face crops the crop without the margin below the chin."""
    if clip.detector_boxes is not None:
        return clip.detector_boxes[index]
    x0, y0, x1, y1 = clip.boxes[index]
    return np.array([x0, y0, x1, y1 - (y1 - y0) * faces.CHIN_MARGIN / (1 + faces.CHIN_MARGIN)])
