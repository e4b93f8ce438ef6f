"""The second pass over a face video: generates faces, frame by frame of the output."""

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from lipsync_jax.faces import roll
from lipsync_jax.faces.trajectory import FaceTrajectory
from lipsync_jax.media import frame_source, prefetch
from lipsync_jax.media.frame_source import FrameSource
from lipsync_jax.media.planar import Image, to_rgb
from lipsync_jax.provenance import visible_label
from lipsync_jax.synthesis import driving_audio
from lipsync_jax.synthesis.batching import Batcher, PendingBatch
from lipsync_jax.synthesis.compositing import Compositor
from lipsync_jax.synthesis.dubbing_plan import KnownTrajectory
from lipsync_jax.synthesis.face_detection_pass import QUEUE
from lipsync_jax.synthesis.frame_schedule import ScheduledFrame
from lipsync_jax.synthesis.options import DubbingOptions


class SpeakerTrack(NamedTuple):
    """One face and its driving audio.

    Attributes:
        trajectory: boxes of the face.
        audio: driving audio of the face.
        vad_envelope: time in seconds -> speech activity, see `driving_audio.vad_envelope`; None
            where `silence_mode` does not need it.
    """

    trajectory: FaceTrajectory | KnownTrajectory
    audio: driving_audio.DrivingAudio | driving_audio.StreamingFeatures
    vad_envelope: Callable[[Fraction], float] | None = None


class FaceRenderer:
    """Generates the faces of a video and blends them into the frames.

    Attributes:
        edited: number of frames with a generated face so far.
    """

    def __init__(
        self,
        batcher: Batcher,
        video: FrameSource,
        speaker_tracks: Sequence[SpeakerTrack],
        options: DubbingOptions,
        label: visible_label.VisibleWatermark | None = None,
        planes: bool = False,
    ) -> None:
        """Stores the arguments; no frame is read.

        Args:
            batcher: generates the faces.
            video: the face video.
            speaker_tracks: the faces to dub, over equal frames.
            options: of silence, blending and audio offset.
            label: written on every frame.
            planes: whether frames may stay in planes, see `video_reader.read_frames`; not with a
                label.
        """
        self._batcher, self._video, self._speaker_tracks = batcher, video, tuple(speaker_tracks)
        self._options, self._label, self.edited = options, label, 0
        self._planes = planes and label is None

    def original_images(self, schedule: Iterable[ScheduledFrame]) -> Generator[Image, None, None]:
        """Yields the frames of a schedule as they are in the face video."""
        return (frame.image for frame in self._frames(schedule))

    def images(
        self, schedule: Iterable[ScheduledFrame], parallel: bool = True
    ) -> Generator[Image, None, None]:
        """Yields the output's frames in order, uint8 RGB (height, width, 3) or in planes.

        Args:
            schedule: the frames of the output.
            parallel: whether reading, generation and blending run ahead, each on a thread; else no
                more of the schedule is consumed than the requested frames need.
        """

        def stage(items: Generator, depth: int) -> Generator:
            return prefetch.prefetch(items, depth) if parallel else items

        frames = stage(self._frames(schedule), QUEUE)
        return stage(self._composited(stage(self._generated_batches(frames), 1)), QUEUE)

    def _frames(self, schedule: Iterable[ScheduledFrame]) -> Generator["_Frame", None, None]:
        with contextlib.closing(
            frame_source.FrameReader(
                self._video, self._speaker_tracks[0].trajectory.times, planes=self._planes
            )
        ) as reader:
            for number, moment in schedule:
                yield _Frame(number, moment, reader[number])

    def _generated_batches(
        self, frames: Generator["_Frame", None, None]
    ) -> Generator["_FrameBatch", None, None]:
        """Yields batches of frames, with the faces that the device is still generating."""
        with contextlib.closing(frames):
            while batch_frames := list(itertools.islice(frames, self._batcher.batch_size)):
                face_crops = [
                    face_crop
                    for i, frame in enumerate(batch_frames)
                    for speaker in self._speaker_tracks
                    if (face_crop := self._crop_face(i, frame, speaker)) is not None
                ]
                pending = None
                if face_crops:
                    crops = np.stack([face_crop.crop for face_crop in face_crops])[..., ::-1]
                    pending = self._batcher.submit(self._audio_windows(face_crops), crops)
                yield _FrameBatch([frame.image for frame in batch_frames], face_crops, pending)

    def _crop_face(
        self, frame_index: int, frame: "_Frame", speaker: SpeakerTrack
    ) -> "_FaceCrop | None":
        box = speaker.trajectory.boxes[frame.number]
        weight = 1.0 if speaker.vad_envelope is None else speaker.vad_envelope(frame.moment)
        skip = self._options.silence_mode == "passthrough" and not weight
        if not np.isfinite(box[0]) or skip:
            return None
        turned = float(speaker.trajectory.rolls[frame.number])
        crop = roll.crop_upright(frame.image, box, turned, self._batcher.model.size)
        return _FaceCrop(frame_index, frame.number, frame.moment, speaker, weight, crop)

    def _audio_windows(self, face_crops: Sequence["_FaceCrop"]) -> np.ndarray:
        feature_spec = self._batcher.model.audio_features
        audio = np.empty((len(face_crops), feature_spec.window, feature_spec.bins), np.float32)
        for speaker in self._speaker_tracks:
            indices = [i for i, face_crop in enumerate(face_crops) if face_crop.speaker is speaker]
            if not indices:
                continue
            moments = [face_crops[i].moment for i in indices]
            starts = feature_spec.window_starts(moments, self._options.audio_offset)
            audio[indices] = speaker.audio.windows(starts)
        if self._options.silence_mode == "zero-audio":
            weights = np.array([crop.vad_weight for crop in face_crops], np.float32)[:, None, None]
            audio = feature_spec.silence + (audio - feature_spec.silence) * weights
        return audio.astype(np.float32)

    def _composited(
        self, batches: Generator["_FrameBatch", None, None]
    ) -> Generator[Image, None, None]:
        # New ones for each call: their temporal averages must not reach from a preview into the
        # video.
        compositors = {id(speaker): Compositor(self._options) for speaker in self._speaker_tracks}
        passthrough = self._options.silence_mode == "passthrough"
        with contextlib.closing(batches):
            for images, face_crops, pending in batches:
                generated_faces = () if pending is None else pending.result()[..., ::-1]
                for face_crop, generated in zip(face_crops, generated_faces, strict=True):
                    composite = compositors[id(face_crop.speaker)]
                    trajectory = face_crop.speaker.trajectory
                    images[face_crop.frame_index] = composite(
                        images[face_crop.frame_index],
                        generated,
                        face_crop.crop,
                        trajectory.boxes[face_crop.frame_number],
                        trajectory.landmarks[face_crop.frame_number],
                        float(face_crop.moment),
                        face_crop.vad_weight if passthrough else 1.0,
                        float(trajectory.rolls[face_crop.frame_number]),
                    )
                self.edited += len({face_crop.frame_index for face_crop in face_crops})
                for image in images:
                    yield image if self._label is None else self._label(to_rgb(image))


class _Frame(NamedTuple):
    number: int  # in the face video
    moment: Fraction  # at which the output shows it
    image: Image


class _FaceCrop(NamedTuple):
    """One face to generate in one frame."""

    frame_index: int  # of the frame in its batch
    frame_number: int  # in the face video
    moment: Fraction
    speaker: SpeakerTrack
    vad_weight: float  # speech activity, 0 to 1
    crop: np.ndarray  # RGB


class _FrameBatch(NamedTuple):
    images: list[Image]
    face_crops: list[_FaceCrop]
    pending: PendingBatch | None  # the generated faces, BGR
