"""One face of one video, 25 times a second, with its sound: what is evaluated."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from fractions import Fraction

import cv2
import numpy as np

from lipsync_jax import faces
from lipsync_jax.data.clip import Clip, decode_frames
from lipsync_jax.evaluation import cropping
from lipsync_jax.evaluation.lip_reading import Reader
from lipsync_jax.evaluation.protocol import Protocol
from lipsync_jax.evaluation.sync_models import Judge
from lipsync_jax.faces import trajectory
from lipsync_jax.media import audio, frame_source
from lipsync_jax.synthesis import face_detection_pass
from lipsync_jax.synthesis.options import Options

_LEAST = 6  # frames; a judge's windows have five


@dataclasses.dataclass(frozen=True)
class Footage:
    """A face to be evaluated, read anew for each use.

    Attributes:
        numbers: frames of the source that are shown, 25 a second.
        boxes: float32 (n, 4), the crop of each.
        tight: float32 (n, 4), the detector's own box; None where the picture is a face crop.
        seen: bool (n,), whether a face was found there.
        samples: float32, 16 kHz.
        first: the sample that sounds with the first frame.
        size: (width, height) of the pictures.
        start: seconds of the first frame in the source.
        read: yields the pictures, uint8 RGB.
        voice: the same sound at its own rate, int16 (samples,), and that rate; None where only
            `samples` are known.
        part: what the pictures show, `lips` alone or, by any other name, a face.
    """

    numbers: tuple[int, ...]
    boxes: np.ndarray
    tight: np.ndarray | None
    seen: np.ndarray
    samples: np.ndarray
    first: int
    size: tuple[int, int]
    start: Fraction
    read: Callable[[], Iterator[np.ndarray]]
    voice: tuple[np.ndarray, int] | None = None
    part: str = "face"

    def __len__(self) -> int:
        return len(self.numbers)

    def first_frames(self, count: int) -> "Footage":
        """The same, cut to its first frames."""
        if count >= len(self):
            return self
        return dataclasses.replace(
            self,
            numbers=self.numbers[:count],
            boxes=self.boxes[:count],
            tight=None if self.tight is None else self.tight[:count],
            seen=self.seen[:count],
            read=lambda: (image for image, _ in zip(self.read(), range(count), strict=False)),
        )

    def edited(self, edit: Callable[[np.ndarray, int], np.ndarray]) -> "Footage":
        """The same with each picture changed: (picture, place) -> picture."""
        return dataclasses.replace(
            self, read=lambda: (edit(image, i) for i, image in enumerate(self.read()))
        )

    def crops(self, size: int) -> np.ndarray:
        """The face crops, uint8 (n, size, size, 3) BGR."""
        return np.stack([self.crop(image, i, size) for i, image in enumerate(self.read())])

    def crop(self, image: np.ndarray, place: int, size: int) -> np.ndarray:
        """One of them, of a picture that was read."""
        return cropping.cut(image, self.boxes[place], size)

    def judged(self, judge: Judge | Reader, how: str) -> Callable[[np.ndarray, int], np.ndarray]:
        """(picture, place) -> the crop that a judge wants; `how` is `Protocol.judge_crop`."""
        if how == "frame" or (judge.cut == "syncnet" and self.tight is None):
            # Face corpora: the whole picture, as the published script scores them.
            return lambda image, _: np.ascontiguousarray(
                cv2.resize(image, (judge.size, judge.size))[..., ::-1]
            )
        boxes = self.boxes
        if judge.cut == "syncnet":
            assert self.tight is not None  # asked above
            boxes = cropping.syncnet_boxes(self.tight)
        return lambda image, place: cropping.for_judge(image, boxes[place], judge.size, judge.cut)


def from_video(path: str | os.PathLike, protocol: Protocol) -> Footage:
    """The most prominent face of a video, from where it is first seen until it is lost.

    Raises:
        FileNotFoundError, ValueError: it can't be read, has no sound, or shows no face for as
            long as a judge's window.
    """
    samples, _ = audio.load_aligned(path, audio.SAMPLE_RATE)
    shown, survey = _survey(path, protocol)
    track = faces.main_track(survey.tracks)
    if track is None:
        raise ValueError(f"{path}: no face was found in any of {len(survey.times)} frames")
    path_ = trajectory.path_of(survey, [track], Options())
    times = frame_source.even_times(survey.times, shown.frame_rate)
    start = times[track.start]
    numbers = cropping.numbers_at_rate([times[i] - start for i in track.frames])
    numbers = tuple(track.start + i for i in numbers)
    if len(numbers) < _LEAST:
        raise ValueError(f"{path}: its face is seen for {len(numbers)} frames only")
    chosen = np.array(numbers)
    return Footage(
        numbers=numbers,
        boxes=path_.boxes[chosen],
        tight=track.boxes[chosen - track.start],
        seen=np.ones(len(numbers), bool),
        samples=samples,
        first=round(start * audio.SAMPLE_RATE),
        size=shown.size,
        start=start,
        read=lambda: cropping.read(shown, survey.times, numbers),
    )


def from_clip(clip: Clip, part: str = "face") -> Footage:
    """A clip of prepared shards: its pictures are crops of a face or of lips."""
    numbers = cropping.numbers_at_rate([i / clip.frame_rate for i in range(len(clip.frames))])
    height, width = decode_frames(clip, range(1)).shape[1:3]
    boxes = np.tile(np.array([0, 0, width, height], np.float32), (len(numbers), 1))
    return Footage(
        numbers=numbers,
        boxes=boxes,
        tight=None,
        seen=np.ones(len(numbers), bool),
        samples=clip.samples(audio.SAMPLE_RATE),
        first=0,
        size=(width, height),
        start=Fraction(0),
        read=lambda: (
            np.ascontiguousarray(decode_frames(clip, [i])[0, ..., ::-1]) for i in numbers
        ),
        voice=(clip.audio, clip.audio_rate),
        part=part,
    )


def following(path: str | os.PathLike, real: Footage, protocol: Protocol) -> Footage:
    """A generated video, cut at the boxes of the footage it was made from or is to look like.

    Its frames are those shown from the moment on at which the reference's footage starts. The boxes
    are scaled where all of the video is; whether there is a face is looked for in it itself.

    Raises:
        FileNotFoundError, ValueError: it can't be read, has no sound or no face, ends before the
            reference begins, or has another shape of picture.
    """
    samples, _ = audio.load_aligned(path, audio.SAMPLE_RATE)
    shown, survey = _survey(path, protocol)
    if not survey.tracks:
        raise ValueError(f"{path}: no face was found in any of {len(survey.times)} frames")
    scale = np.array(shown.size) / np.array(real.size)
    if abs(scale[0] / scale[1] - 1) > 0.02:
        raise ValueError(
            f"{path} is {shown.size[0]}x{shown.size[1]}, its reference {real.size[0]}x"
            f"{real.size[1]}: another shape, so its faces can't be cut alike"
        )
    times = frame_source.even_times(survey.times, shown.frame_rate)
    quarter = Fraction(1, 4) / shown.frame_rate
    begun = [i for i, moment in enumerate(times) if moment >= real.start - quarter]
    numbers = cropping.numbers_at_rate([times[i] - real.start for i in begun]) if begun else ()
    numbers = tuple(begun[0] + i for i in numbers)[: len(real)]
    if len(numbers) < _LEAST:
        raise ValueError(f"{path} ends before its reference shows a face; it is too short")
    count, both = len(numbers), np.tile(scale, 2)
    there = np.zeros(len(times), bool)
    for track in survey.tracks:
        there[track.frames.start : track.frames.stop] = True
    return Footage(
        numbers=numbers,
        boxes=(real.boxes[:count] * both).astype(np.float32),
        tight=None if real.tight is None else (real.tight[:count] * both).astype(np.float32),
        seen=there[np.array(numbers)],
        samples=samples,
        first=round(real.start * audio.SAMPLE_RATE),
        size=shown.size,
        start=real.start,
        read=lambda: cropping.read(shown, survey.times, numbers),
    )


def _survey(
    path: str | os.PathLike, protocol: Protocol
) -> tuple[frame_source.Source, face_detection_pass.Survey]:
    shown = frame_source.open_source(path)
    options = Options(detector=protocol.detector, detect_every=protocol.detect_every)
    return shown, face_detection_pass.survey(shown, None, options, lambda *_: None)
