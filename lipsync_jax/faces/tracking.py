"""Face tracking through consecutive frames."""

import dataclasses
from collections.abc import Iterable

import cv2
import numpy as np

from lipsync_jax.faces.appearance import appearance_descriptor, thumbnail
from lipsync_jax.faces.boxes import overlap_ratios
from lipsync_jax.faces.detection import Detector, Face, detect, get_detector

_COLOUR_BINS = 6  # of each colour channel, for scene cuts


@dataclasses.dataclass(frozen=True)
class Track:
    """One face through consecutive frames of one shot.

    Attributes:
        start: number of its first frame.
        boxes: float32 (n, 4).
        landmarks: float32 (n, 5, 2), NaN where unknown.
        scores: float32 (n,); 0 where not detected.
        detected: bool (n,); elsewhere box and landmarks are interpolated.
        descriptor: float32 (d,) of length 1, the mean `faces.appearance_descriptor` of some frames;
            None without `with_appearance`.
        thumbnail: uint8 (size, size, 3) RGB, see `faces.thumbnail`; None without
            `with_appearance`.
    """

    start: int
    boxes: np.ndarray
    landmarks: np.ndarray
    scores: np.ndarray
    detected: np.ndarray
    descriptor: np.ndarray | None = None
    thumbnail: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def frames(self) -> range:
        """Returns the numbers of the frames that the track covers."""
        return range(self.start, self.start + len(self))


def track_faces(
    frames: Iterable[np.ndarray],
    detector: str | Detector = "auto",
    *,
    detect_every: int = 1,
    min_iou: float = 0.3,
    max_gap: int = 12,
    scene_cut_threshold: float = 0.3,
    with_appearance: bool = False,
) -> list[Track]:
    """Tracks every face through a stream of frames, with one frame in memory at a time.

    A face continues the track whose last box it overlaps most. A scene cut, detected by a change
    of the colour histogram, ends all tracks.

    Args:
        frames: uint8 (height, width, 3) RGB images.
        detector: see `detect`.
        detect_every: detect in every n-th frame and interpolate between.
        min_iou: least intersection over union of a face with its track.
        max_gap: frames without detection that are interpolated; a longer gap ends the track.
        scene_cut_threshold: least change of the histogram (0 same, 1 disjoint) that is a cut.
        with_appearance: compute descriptors and thumbnails.

    Returns:
        Tracks in the order of their first frames.
    """
    if detect_every < 1:
        raise ValueError(f"detect_every={detect_every}: give a step of at least one frame")
    run_detector = get_detector(detector) if isinstance(detector, str) else detector
    active: list[_ActiveTrack] = []
    finished: list[Track] = []
    number, next_detection, histogram = -1, 0, None
    for number, rgb in enumerate(frames):
        previous, histogram = histogram, _colour_histogram(rgb)
        if previous is not None and np.abs(histogram - previous).sum() / 2 > scene_cut_threshold:
            finished += [_interpolate(each, number, detect_every) for each in active]
            active, next_detection = [], number
        if number < next_detection:
            continue
        next_detection = number + detect_every
        _link(active, [(number, face) for face in detect(rgb, run_detector)], min_iou)
        if with_appearance:
            for active_track in active:
                active_track.update_appearance(rgb, number)
        earliest = number - (max_gap + detect_every - 1)
        ended = [each for each in active if each.last_frame < earliest]
        active = [each for each in active if each.last_frame >= earliest]
        finished += [_interpolate(each, each.last_frame + 1, 1) for each in ended]
    finished += [_interpolate(each, number + 1, detect_every) for each in active]
    return sorted(finished, key=lambda track: track.start)


def _colour_histogram(rgb: np.ndarray) -> np.ndarray:
    """Computes a 6 × 6 × 6 colour histogram with linear interpolation between bins.

    With hard bins, a plain backdrop that flickers over the edge of a bin would count as a cut.
    """
    small = cv2.resize(rgb, (64, 64), interpolation=cv2.INTER_AREA).reshape(-1, 3)
    bin_position = small * ((_COLOUR_BINS - 1) / 255)
    lower_bin = np.minimum(bin_position.astype(int), _COLOUR_BINS - 2)
    fraction = bin_position - lower_bin
    counts = np.zeros(_COLOUR_BINS**3)
    for bin_offset in np.ndindex(2, 2, 2):
        weight = np.where(bin_offset, fraction, 1 - fraction).prod(axis=1)
        colour = (lower_bin + bin_offset) @ (_COLOUR_BINS**2, _COLOUR_BINS, 1)
        counts += np.bincount(colour, weight, _COLOUR_BINS**3)
    return counts / len(small)


class _ActiveTrack:
    """A track that may continue: its detections so far, and its appearance."""

    def __init__(self, number: int, face: Face) -> None:
        self.detections = [(number, face)]
        self._descriptors: list[np.ndarray] = []
        self._best = -1.0
        self.thumbnail: np.ndarray | None = None

    @property
    def last_frame(self) -> int:
        return self.detections[-1][0]

    def update_appearance(self, rgb: np.ndarray, number: int) -> None:
        """Adds the descriptors of detections 1, 2, 4, 8, ..., few and spread over time."""
        count, (last, face) = len(self.detections), self.detections[-1]
        if last != number or count & (count - 1):
            return
        self._descriptors.append(appearance_descriptor(rgb, face))
        quality = face.score * float(face.box[3] - face.box[1])
        if quality > self._best:
            self._best, self.thumbnail = quality, thumbnail(rgb, face)

    def mean_descriptor(self) -> np.ndarray | None:
        if not self._descriptors:
            return None
        total = np.sum(self._descriptors, axis=0)
        return (total / np.linalg.norm(total)).astype(np.float32)


def _link(active: list[_ActiveTrack], faces: list[tuple[int, Face]], min_iou: float) -> None:
    """Appends each face to a track, best overlaps first; the other faces begin new tracks."""
    pairs = [
        (overlap_ratios(track.detections[-1][1].box, face[1].box)[0], i, j)
        for i, track in enumerate(active)
        for j, face in enumerate(faces)
    ]
    matched_tracks, matched_faces = set(), set()
    for iou, i, j in sorted(pairs, reverse=True):
        if iou >= min_iou and i not in matched_tracks and j not in matched_faces:
            active[i].detections.append(faces[j])
            matched_tracks.add(i)
            matched_faces.add(j)
    active += [_ActiveTrack(*face) for j, face in enumerate(faces) if j not in matched_faces]


def _interpolate(active_track: _ActiveTrack, end: int, detect_every: int) -> Track:
    """Interpolates between detections, and extends the last by less than a detection step."""
    points = active_track.detections
    detected_frames = np.array([number for number, _ in points])
    numbers = np.arange(detected_frames[0], min(end, detected_frames[-1] + detect_every))
    values = np.stack([np.concatenate([f.box, f.landmarks.ravel()]) for _, f in points])
    interpolated = np.stack(
        [np.interp(numbers, detected_frames, column) for column in values.T], axis=1
    )
    detected = np.isin(numbers, detected_frames)
    scores = np.zeros(len(numbers), np.float32)
    scores[detected] = [face.score for _, face in points]
    interpolated = interpolated.astype(np.float32)
    boxes, landmarks = interpolated[:, :4], interpolated[:, 4:].reshape(-1, 5, 2)
    appearance = active_track.mean_descriptor(), active_track.thumbnail
    return Track(int(detected_frames[0]), boxes, landmarks, scores, detected, *appearance)


def main_track(tracks: Iterable[Track]) -> Track | None:
    """Returns the track with the largest sum of face heights over its frames; None without one."""
    return max(tracks, key=lambda t: (t.boxes[:, 3] - t.boxes[:, 1]).sum(), default=None)
