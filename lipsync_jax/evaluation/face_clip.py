"""One face of one video at 25 frames a second, with its audio: the unit of evaluation."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from fractions import Fraction

import cv2
import numpy as np

from lipsync_jax import faces
from lipsync_jax.data.clip import Clip, decode_frames
from lipsync_jax.evaluation import cropping
from lipsync_jax.evaluation.lip_reading import LipReadingModel
from lipsync_jax.evaluation.protocol import Protocol
from lipsync_jax.evaluation.sync_models import SyncModel
from lipsync_jax.faces import trajectory
from lipsync_jax.media import audio, frame_source
from lipsync_jax.synthesis import face_detection_pass
from lipsync_jax.synthesis.options import DubbingOptions

_MIN_FRAMES = 6  # a sync model's windows have five


@dataclasses.dataclass(frozen=True)
class FaceClip:
    """A face to evaluate; frames are read again for each use.

    Attributes:
        frame_indices: the source's frame of each frame, 25 a second.
        boxes: float32 (n, 4), the crop box of each frame.
        detector_boxes: float32 (n, 4), the detector's box; None where the image is a face crop.
        face_present: bool (n,), whether the frame has a face.
        samples: float32 (samples,), the audio at 16 kHz.
        audio_start: index of the sample at the time of the first frame.
        size: (width, height) of the images.
        start: seconds of the first frame in the source.
        read_frames: yields the images, uint8 RGB.
        source_audio: the audio at its own rate, int16 (samples,), and that rate; None where only
            `samples` are known.
        region: what the images show: `lips`, or by any other name a face.
        windows: uint8 (windows, 16, height, width, 3) RGB, of `clip_windows.window_indices`, each
            generated on its own; None where windows are cut from the clip.
    """

    frame_indices: tuple[int, ...]
    boxes: np.ndarray
    detector_boxes: np.ndarray | None
    face_present: np.ndarray
    samples: np.ndarray
    audio_start: int
    size: tuple[int, int]
    start: Fraction
    read_frames: Callable[[], Iterator[np.ndarray]]
    source_audio: tuple[np.ndarray, int] | None = None
    region: str = "face"
    windows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.frame_indices)

    def first_frames(self, count: int) -> "FaceClip":
        """Returns the clip, cut to its first frames."""
        if count >= len(self):
            return self
        return dataclasses.replace(
            self,
            frame_indices=self.frame_indices[:count],
            boxes=self.boxes[:count],
            detector_boxes=None if self.detector_boxes is None else self.detector_boxes[:count],
            face_present=self.face_present[:count],
            read_frames=lambda: (
                image for image, _ in zip(self.read_frames(), range(count), strict=False)
            ),
        )

    def in_memory(self) -> "FaceClip":
        """Returns the clip with its images in memory, for clips that are short and used often."""
        images = [*self.read_frames()]
        return dataclasses.replace(self, read_frames=lambda: iter(images))

    def map_frames(self, edit: Callable[[np.ndarray, int], np.ndarray]) -> "FaceClip":
        """Returns the clip with each image changed by `edit`: (image, index) -> image."""
        return dataclasses.replace(
            self, read_frames=lambda: (edit(image, i) for i, image in enumerate(self.read_frames()))
        )

    def crops(self, size: int) -> np.ndarray:
        """Returns the face crops, uint8 (n, size, size, 3) BGR."""
        return np.stack([self.crop(image, i, size) for i, image in enumerate(self.read_frames())])

    def crop(self, image: np.ndarray, index: int, size: int) -> np.ndarray:
        """Returns the face crop of one image, uint8 (size, size, 3) BGR."""
        return cropping.crop_bgr(image, self.boxes[index], size)

    def sync_crop_fn(
        self, model: SyncModel | LipReadingModel, crop_style: str
    ) -> Callable[[np.ndarray, int], np.ndarray]:
        """Returns (image, index) -> the model's crop; `crop_style` is `Protocol.sync_crop`."""
        if crop_style == "frame" or (model.crop_style == "syncnet" and self.detector_boxes is None):
            # Face corpora: the whole image, as in the published script.
            return lambda image, _: np.ascontiguousarray(
                cv2.resize(image, (model.size, model.size))[..., ::-1]
            )
        boxes = self.boxes
        if model.crop_style == "syncnet":
            assert self.detector_boxes is not None  # checked above
            boxes = cropping.syncnet_boxes(self.detector_boxes)
        return lambda image, index: cropping.crop_for_model(
            image, boxes[index], model.size, model.crop_style
        )


def from_video(path: str | os.PathLike, protocol: Protocol) -> FaceClip:
    """Returns the most prominent face of a video, over the frames of its track.

    Raises:
        FileNotFoundError, ValueError: the video can't be read, has no audio, or shows no face for
            the frames of a sync model's window.
    """
    samples, _ = audio.load_from_video_start(path, audio.SAMPLE_RATE)
    video, video_faces = _detect_faces(path, protocol)
    track = faces.main_track(video_faces.tracks)
    if track is None:
        raise ValueError(f"{path}: no face was found in any of {len(video_faces.times)} frames")
    face_trajectory = trajectory.face_trajectory(video_faces, [track], DubbingOptions())
    times = frame_source.snap_times(video_faces.times, video.frame_rate)
    start = times[track.start]
    frame_indices = cropping.frame_indices_at_rate([times[i] - start for i in track.frames])
    frame_indices = tuple(track.start + i for i in frame_indices)
    if len(frame_indices) < _MIN_FRAMES:
        raise ValueError(
            f"{path}: its face is visible in {len(frame_indices)} frames only; at least "
            f"{_MIN_FRAMES} are needed"
        )
    chosen = np.array(frame_indices)
    return FaceClip(
        frame_indices=frame_indices,
        boxes=face_trajectory.boxes[chosen],
        detector_boxes=track.boxes[chosen - track.start],
        face_present=np.ones(len(frame_indices), bool),
        samples=samples,
        audio_start=round(start * audio.SAMPLE_RATE),
        size=video.size,
        start=start,
        read_frames=lambda: cropping.read_frames(video, video_faces.times, frame_indices),
    )


def from_clip(clip: Clip, region: str = "face") -> FaceClip:
    """Returns a clip of prepared shards, whose images are crops of a face or of lips."""
    frame_indices = cropping.frame_indices_at_rate(
        [i / clip.frame_rate for i in range(len(clip.frames))]
    )
    height, width = decode_frames(clip, range(1)).shape[1:3]
    boxes = np.tile(np.array([0, 0, width, height], np.float32), (len(frame_indices), 1))
    return FaceClip(
        frame_indices=frame_indices,
        boxes=boxes,
        detector_boxes=None,
        face_present=np.ones(len(frame_indices), bool),
        samples=clip.samples(audio.SAMPLE_RATE),
        audio_start=0,
        size=(width, height),
        start=Fraction(0),
        read_frames=lambda: (
            np.ascontiguousarray(decode_frames(clip, [i])[0, ..., ::-1]) for i in frame_indices
        ),
        source_audio=(clip.audio, clip.audio_rate),
        region=region,
    )


def matched_to(path: str | os.PathLike, reference: FaceClip, protocol: Protocol) -> FaceClip:
    """Returns a generated video, cropped at the boxes of its reference.

    Frames begin at the time at which the reference clip begins. The boxes are scaled if the video
    has another size; `face_present` comes from detection in the video itself.

    Raises:
        FileNotFoundError, ValueError: the video can't be read, has no audio or no face, ends before
            the reference begins, or has another aspect ratio.
    """
    samples, _ = audio.load_from_video_start(path, audio.SAMPLE_RATE)
    video, video_faces = _detect_faces(path, protocol)
    if not video_faces.tracks:
        raise ValueError(f"{path}: no face was found in any of {len(video_faces.times)} frames")
    scale = np.array(video.size) / np.array(reference.size)
    if abs(scale[0] / scale[1] - 1) > 0.02:
        raise ValueError(
            f"{path} is {video.size[0]}x{video.size[1]}, its reference {reference.size[0]}x"
            f"{reference.size[1]}: the aspect ratios differ, so the faces can't be cropped alike"
        )
    times = frame_source.snap_times(video_faces.times, video.frame_rate)
    quarter = Fraction(1, 4) / video.frame_rate
    after_start = [i for i, time in enumerate(times) if time >= reference.start - quarter]
    frame_indices = (
        cropping.frame_indices_at_rate([times[i] - reference.start for i in after_start])
        if after_start
        else ()
    )
    frame_indices = tuple(after_start[0] + i for i in frame_indices)[: len(reference)]
    if len(frame_indices) < _MIN_FRAMES:
        raise ValueError(f"{path} ends before its reference shows a face; give a longer video")
    count, box_scale = len(frame_indices), np.tile(scale, 2)
    present = np.zeros(len(times), bool)
    for track in video_faces.tracks:
        present[track.frames.start : track.frames.stop] = True
    return FaceClip(
        frame_indices=frame_indices,
        boxes=(reference.boxes[:count] * box_scale).astype(np.float32),
        detector_boxes=None
        if reference.detector_boxes is None
        else (reference.detector_boxes[:count] * box_scale).astype(np.float32),
        face_present=present[np.array(frame_indices)],
        samples=samples,
        audio_start=round(reference.start * audio.SAMPLE_RATE),
        size=video.size,
        start=reference.start,
        read_frames=lambda: cropping.read_frames(video, video_faces.times, frame_indices),
    )


def _detect_faces(
    path: str | os.PathLike, protocol: Protocol
) -> tuple[frame_source.FrameSource, face_detection_pass.VideoFaces]:
    video = frame_source.open_frame_source(path)
    options = DubbingOptions(
        detector=protocol.detector, detect_every=protocol.detect_every, follow=False
    )
    return video, face_detection_pass.detect_faces_in_video(video, None, options, lambda *_: None)
