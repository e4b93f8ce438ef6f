"""The faces of a video: tracks, identities, and the trajectory of the face to generate."""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np

from lipsync_jax import faces
from lipsync_jax.faces import roll
from lipsync_jax.media.video_reader import Frame

MISSING_FACE = ("keep", "hold", "error")
MAX_GAP = Fraction(1, 2)  # seconds without a detection that are interpolated
_MIN_TRACK_LENGTH = 5  # frames; a shorter track among longer ones is spurious
_BOX_WINDOW = 5  # frames of the moving average of boxes
_LANDMARK_WINDOW = 15  # frames of the moving average of landmarks, which move slowly in their box
# Later frames that move a face: landmarks, their rolls, and landmarks in boxes are averaged.
_SMOOTHING_REACH = 2 * (_BOX_WINDOW // 2) + _LANDMARK_WINDOW // 2


@dataclasses.dataclass(frozen=True)
class FaceTrajectory:
    """One face in every frame of a video.

    Attributes:
        times: exact seconds at which each frame is shown, the first 0.
        boxes: float32 (frames, 4), the box to generate; NaN where the frame stays unchanged.
        rolls: float32 (frames,), degrees by which the box is turned clockwise around its centre.
        landmarks: float32 (frames, 5, 2), those of `faces.Face` as fractions of the turned
            box; NaN where unknown.
        face_present: bool (frames,), whether a face was detected or interpolated.
        too_small: bool (frames,), whether the face was left unchanged because of its size.
    """

    times: tuple[Fraction, ...]
    boxes: np.ndarray
    rolls: np.ndarray
    landmarks: np.ndarray
    face_present: np.ndarray
    too_small: np.ndarray


@dataclasses.dataclass(frozen=True)
class FaceOptions:
    """Options of face detection and tracking.

    Attributes:
        pads: pixels added to the box: top, bottom, left, right. The box extends below the chin
            without them, see `faces.face_box`.
        box: a constant box, top, bottom, left, right, in place of detection.
        smooth: average boxes over five frames.
        detect_every: detect in every n-th frame.
        follow: between these frames follow faces by optical flow, see `faces.track_faces`; else
            interpolate.
        on_missing_face: for frames without a face: `keep` leaves them unchanged, `hold` uses the
            last box, `error` raises.
        detector: see `faces.get_detector`.
        face_id: generate this identity only, by the number that `lipsync list-faces` shows.
        face_ref: generate the identity that is most similar to the one of this image or video.
    """

    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    box: tuple[int, int, int, int] | None = None
    smooth: bool = True
    detect_every: int = 5
    follow: bool = True
    on_missing_face: str = "keep"
    detector: str | faces.Detector = "auto"
    face_id: int | None = None
    face_ref: str | os.PathLike | None = None


@dataclasses.dataclass(frozen=True)
class VideoFaces:
    """All faces of a video.

    Attributes:
        times: exact seconds at which each frame is shown, the first 0.
        tracks: of all faces, with descriptors and thumbnails.
    """

    times: tuple[Fraction, ...]
    tracks: tuple[faces.Track, ...]

    def first_frames(self, count: int) -> "VideoFaces":
        """Returns the faces of the first `count` frames."""
        if count >= len(self.times):
            return self
        truncated = [
            t.select(slice(count - t.start), t.start) for t in self.tracks if t.start < count
        ]
        return VideoFaces(self.times[:count], tuple(truncated))

    def identities(self) -> list[list[faces.Track]]:
        """Returns the tracks of each identity, in the order of first appearance, left before right.

        The index in this list is the identity's ID; spurious tracks get no ID. See
        `faces.cluster_identities`.
        """
        tracks = sorted(
            _without_spurious(self.tracks), key=lambda t: (t.start, float(t.boxes[0, 0]))
        )
        labels = faces.cluster_identities(
            [t.frames for t in tracks], np.array([t.descriptor for t in tracks])
        )
        identity_tracks: list[list[faces.Track]] = [[] for _ in range(max(labels, default=-1) + 1)]
        for label, track in zip(labels, tracks, strict=True):
            identity_tracks[label].append(track)
        return identity_tracks


class VideoTracker:
    """Tracks all faces of a video, frame by frame; with a constant box none are detected."""

    def __init__(self, frame_rate: Fraction, options: FaceOptions) -> None:
        """Takes the options.

        Args:
            frame_rate: frames a second, approximate.
            options: of detection.
        """
        self._times: list[Fraction] = []
        self._tracker: faces.FaceTracker | None = None
        if options.box is None:
            self._tracker = faces.FaceTracker(
                options.detector,
                detect_every=options.detect_every,
                max_gap=max(1, round(MAX_GAP * frame_rate)),
                with_appearance=True,
                follow=options.follow,
                find_rolls=True,
            )

    def add(self, frame: Frame) -> None:
        """Takes the next frame."""
        self._times.append(frame.time)
        if self._tracker is not None:
            self._tracker.add(frame.image)

    def end(self) -> VideoFaces:
        """Returns the faces of the video, after its last frame."""
        tracks = () if self._tracker is None else self._tracker.end()
        return VideoFaces(tuple(self._times), tuple(tracks))

    def faces_so_far(self) -> tuple[VideoFaces, int]:
        """Returns what is known of the faces before the last frame.

        Returns:
            The faces of the frames so far, and the number of frames from the start in which
            `face_trajectory` places these tracks where it will place them in the end.
        """
        tracks: Sequence[faces.Track] = ()
        settled = len(self._times)
        if self._tracker is not None:
            tracks, settled = self._tracker.tracks_so_far()
            settled -= _SMOOTHING_REACH
        return VideoFaces(tuple(self._times), tuple(tracks)), max(settled, 0)


def track_video(frames: Iterable[Frame], frame_rate: Fraction, options: FaceOptions) -> VideoFaces:
    """Tracks all faces of some frames, see `VideoTracker`."""
    tracker = VideoTracker(frame_rate, options)
    for frame in frames:
        tracker.add(frame)
    return tracker.end()


def face_trajectory(
    video_faces: VideoFaces,
    tracks: Iterable[faces.Track],
    options: FaceOptions,
    min_height: float = 0,
) -> FaceTrajectory:
    """Computes the boxes to generate in all frames of a video.

    Args:
        video_faces: of the video.
        tracks: of the face to generate, no two in one frame; ignored with a constant box.
        options: of detection.
        min_height: pixels; a track whose boxes have a lower median height is left unchanged.
    """
    count = len(video_faces.times)
    if options.box is not None:
        top, bottom, left, right = options.box
        boxes = np.tile(np.array([left, top, right, bottom], np.float32), (count, 1))
        no_landmarks = np.full((count, 5, 2), np.nan, np.float32)
        return FaceTrajectory(
            video_faces.times,
            boxes,
            np.zeros(count, np.float32),
            no_landmarks,
            face_present=np.ones(count, bool),
            too_small=np.zeros(count, bool),
        )
    boxes = np.full((count, 4), np.nan, np.float32)
    rolls = np.zeros(count, np.float32)
    landmarks = np.full((count, 5, 2), np.nan, np.float32)
    face_present, too_small = np.zeros(count, bool), np.zeros(count, bool)
    for track in tracks:
        span = slice(track.frames.start, track.frames.stop)
        face_present[span] = True
        smoothed = _smoothed(track, options)
        # Of the whole track, so that a face of about that height does not come and go.
        if np.median(smoothed[0][:, 3] - smoothed[0][:, 1]) < min_height:
            too_small[span] = True
        else:
            boxes[span], rolls[span], landmarks[span] = smoothed
    if options.on_missing_face == "hold" and face_present.any():
        last = np.maximum.accumulate(np.where(face_present, np.arange(count), -1))
        source_frame = np.where(last < 0, np.argmax(face_present), last)
        boxes, rolls, landmarks = (x[source_frame] for x in (boxes, rolls, landmarks))
    return FaceTrajectory(video_faces.times, boxes, rolls, landmarks, face_present, too_small)


def select_main_tracks(tracks: Sequence[faces.Track]) -> list[faces.Track]:
    """Selects the tracks to generate: the most prominent, then others that share no frame with it.

    So one face is generated at a time, and every shot has one. Spurious tracks are selected only
    where there is no other track.
    """
    selected: list[faces.Track] = []
    by_prominence = sorted(_without_spurious(tracks), key=lambda track: -track.prominence)
    for track in by_prominence:
        span = track.frames
        if all(span.stop <= c.frames.start or span.start >= c.frames.stop for c in selected):
            selected.append(track)
    return selected


def intervals(
    times: Sequence[Fraction], end: Fraction, flags: Sequence[bool] | np.ndarray
) -> list[tuple]:
    """Returns the runs of frames with a true flag, as (start, end) in seconds."""
    ends = [*times[1:], end]
    found_intervals: list[tuple[Fraction, Fraction]] = []
    previous = False
    for start, stop, flag in zip(times, ends, flags, strict=True):
        if flag and previous:
            found_intervals[-1] = (found_intervals[-1][0], stop)
        elif flag:
            found_intervals.append((start, stop))
        previous = flag
    return found_intervals


def is_spurious(track: faces.Track) -> bool:
    """Returns whether a track is probably no face, since it is very short."""
    return len(track) < _MIN_TRACK_LENGTH or track.detected.sum() < 2


def _without_spurious(tracks: Iterable[faces.Track]) -> list[faces.Track]:
    """Removes spurious tracks, unless there are no others."""
    tracks = list(tracks)
    return [track for track in tracks if not is_spurious(track)] or tracks


def _smoothed(
    track: faces.Track, options: FaceOptions
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the smoothed boxes to generate, their rolls, and the landmarks as fractions of them.

    A box is that of the upright face, moved to where the turned one is.
    """
    window = _BOX_WINDOW if options.smooth else 1
    boxes = faces.smooth_boxes(track.boxes, window)
    landmarks = faces.smooth_boxes(track.landmarks, window)
    measured = np.unwrap(roll.landmark_roll(landmarks), period=360)
    rolls = faces.smooth_boxes(roll.crop_roll(measured), window)
    pivots = boxes.reshape(-1, 2, 2).mean(axis=1)
    if rolls.any():
        back = roll.turned(landmarks - pivots[:, None], -rolls[:, None])
        landmarks = (back + pivots[:, None]).astype(np.float32)
    boxes = faces.pad_box(faces.face_box(boxes, landmarks), options.pads)
    fractions = faces.smooth_boxes(faces.to_crop(landmarks, boxes, 1), _LANDMARK_WINDOW)
    if rolls.any():
        moved = boxes.reshape(-1, 2, 2).mean(axis=1) - pivots
        boxes = boxes + np.tile(roll.turned(moved, rolls) - moved, 2)
    return boxes.astype(np.float32), rolls, fractions
