"""Where the faces of a video are, who is who, and the boxes to redraw."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction

import numpy as np

from lipsync_jax import faces
from lipsync_jax.media.video_reader import Frame

MISSING_FACE = ("keep", "hold", "error")
LONGEST_GAP = Fraction(1, 2)  # seconds without a detection that are interpolated
_SHORTEST = 5  # frames; a briefer track among longer ones is a false alarm
_STEADY = 15  # frames over which landmarks are averaged: within their box they move slowly


@dataclasses.dataclass(frozen=True)
class FacePath:
    """One face through a video.

    Attributes:
        times: exact seconds at which each frame is shown, the first 0.
        boxes: float32 (frames, 4), the box to redraw; NaN where the frame stays as it is.
        landmarks: float32 (frames, 5, 2), those of `faces.Face` as fractions of the box; NaN where
            unknown.
        found: bool (frames,), whether a face was there (seen, or interpolated).
    """

    times: tuple[Fraction, ...]
    boxes: np.ndarray
    landmarks: np.ndarray
    found: np.ndarray


@dataclasses.dataclass(frozen=True)
class FaceOptions:
    """How faces are found.

    Attributes:
        pads: pixels added to the box: top, bottom, left, right. The box reaches below the chin
            without them, see `faces.face_box`.
        box: a constant box, top, bottom, left, right, in place of detection.
        smooth: average boxes over five frames.
        detect_every: detect in each so-manieth frame and interpolate between.
        on_missing_face: what happens to frames without a face: `keep` leaves them as they are,
            `hold` redraws where the face was last seen, `error` gives up.
        detector: see `faces.get_detector`.
        face_id: redraw this person only, by the number that `lipsync faces` shows.
        face_ref: redraw the person who looks most like the one in this picture or video.
    """

    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    box: tuple[int, int, int, int] | None = None
    smooth: bool = True
    detect_every: int = 2
    on_missing_face: str = "keep"
    detector: str | faces.Detector = "auto"
    face_id: int | None = None
    face_ref: str | os.PathLike | None = None


@dataclasses.dataclass(frozen=True)
class Survey:
    """All faces of a video.

    Attributes:
        times: exact seconds at which each frame is shown, the first 0.
        tracks: what was found, with likenesses and portraits.
    """

    times: tuple[Fraction, ...]
    tracks: tuple[faces.Track, ...]

    def until(self, count: int) -> "Survey":
        """The same of the first `count` frames only."""
        if count >= len(self.times):
            return self
        kept = [_cut(track, count) for track in self.tracks if track.start < count]
        return Survey(self.times[:count], tuple(kept))

    def people(self) -> list[list[faces.Track]]:
        """The tracks of each person, in the order of their first appearance, left before right.

        A person's place in this list is his id. False alarms are nobody. See `faces.people`.
        """
        tracks = sorted(_lasting(self.tracks), key=lambda t: (t.start, float(t.boxes[0, 0])))
        numbers = faces.people([t.frames for t in tracks], np.array([t.likeness for t in tracks]))
        found: list[list[faces.Track]] = [[] for _ in range(max(numbers, default=-1) + 1)]
        for number, track in zip(numbers, tracks, strict=True):
            found[number].append(track)
        return found


def look(
    frames: Iterable[Frame],
    frame_rate: Fraction,
    options: FaceOptions,
    on_frame: Callable[[int], None],
) -> Survey:
    """Finds all faces in a stream, holding one frame at a time.

    Args:
        frames: the face video.
        frame_rate: about how many there are a second.
        options: how; with a constant box nothing is looked for.
        on_frame: called with the number of frames seen so far.
    """
    times: list[Fraction] = []

    def images() -> Iterator[np.ndarray]:
        for frame in frames:
            times.append(frame.time)
            yield frame.image
            on_frame(len(times))

    tracks: Sequence[faces.Track] = ()
    if options.box is not None:
        for _ in images():
            pass
    else:
        tracks = faces.track(
            images(),
            options.detector,
            every=options.detect_every,
            max_gap=max(1, round(LONGEST_GAP * frame_rate)),
            portraits=True,
        )
    return Survey(tuple(times), tuple(tracks))


def path_of(survey: Survey, tracks: Iterable[faces.Track], options: FaceOptions) -> FacePath:
    """The boxes to redraw through all frames of a video.

    Args:
        survey: of the video.
        tracks: those to redraw, no two in one frame; not looked at with a constant box.
        options: how.
    """
    count = len(survey.times)
    if options.box is not None:
        top, bottom, left, right = options.box
        boxes = np.tile(np.array([left, top, right, bottom], np.float32), (count, 1))
        unknown = np.full((count, 5, 2), np.nan, np.float32)
        return FacePath(survey.times, boxes, unknown, np.ones(count, bool))
    boxes = np.full((count, 4), np.nan, np.float32)
    landmarks = np.full((count, 5, 2), np.nan, np.float32)
    for track in tracks:
        part = slice(track.frames.start, track.frames.stop)
        boxes[part], landmarks[part] = _smoothed(track, options)
    found = np.isfinite(boxes[:, 0])
    if options.on_missing_face == "hold" and found.any():
        last = np.maximum.accumulate(np.where(found, np.arange(count), -1))
        shown = np.where(last < 0, np.argmax(found), last)
        boxes, landmarks = boxes[shown], landmarks[shown]
    return FacePath(survey.times, boxes, landmarks, found)


def choose(tracks: Sequence[faces.Track]) -> list[faces.Track]:
    """The tracks to redraw: the most prominent, then every other that shares no frame with one.

    So only one face is redrawn at a time, every shot has its own, and when that face is away for a
    while no bystander takes its place. A brief false alarm counts only where there is nothing else.
    """
    chosen: list[faces.Track] = []
    for track in sorted(_lasting(tracks), key=_prominence, reverse=True):
        span = track.frames
        if all(span.stop <= c.frames.start or span.start >= c.frames.stop for c in chosen):
            chosen.append(track)
    return chosen


def spans(
    times: Sequence[Fraction], end: Fraction, flags: Sequence[bool] | np.ndarray
) -> list[tuple]:
    """Runs of frames for which a flag is true, as (start, end) in seconds."""
    ends = [*times[1:], end]
    runs: list[tuple[Fraction, Fraction]] = []
    previous = False
    for start, stop, flag in zip(times, ends, flags, strict=True):
        if flag and previous:
            runs[-1] = (runs[-1][0], stop)
        elif flag:
            runs.append((start, stop))
        previous = flag
    return runs


def _lasting(tracks: Iterable[faces.Track]) -> list[faces.Track]:
    """Without brief false alarms, unless there is nothing else."""
    tracks = list(tracks)
    return [t for t in tracks if len(t) >= _SHORTEST and t.detected.sum() > 1] or tracks


def _cut(track: faces.Track, count: int) -> faces.Track:
    """A track's part in the first `count` frames of the video."""
    n = min(len(track), count - track.start)
    parts = {k: getattr(track, k)[:n] for k in ("boxes", "landmarks", "scores", "detected")}
    return dataclasses.replace(track, **parts)


def _prominence(track: faces.Track) -> float:
    return float((track.boxes[:, 3] - track.boxes[:, 1]).sum())


def _smoothed(track: faces.Track, options: FaceOptions) -> tuple[np.ndarray, np.ndarray]:
    """The boxes to redraw and the landmarks in them."""
    window = 5 if options.smooth else 1
    boxes = faces.smooth_boxes(track.boxes, window)
    landmarks = faces.smooth_boxes(track.landmarks, window)
    boxes = faces.pad_box(faces.face_box(boxes, landmarks), options.pads)
    return boxes, faces.smooth_boxes(faces.to_crop(landmarks, boxes, 1), _STEADY)
