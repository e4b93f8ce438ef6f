"""Faces followed through consecutive frames."""

import dataclasses
from collections.abc import Iterable

import cv2
import numpy as np

from lipsync_jax.faces.appearance import likeness, portrait
from lipsync_jax.faces.boxes import overlap as overlap_of
from lipsync_jax.faces.detection import Detector, Face, detect, get_detector

_BINS = 6  # of each colour channel, to see scene cuts


@dataclasses.dataclass(frozen=True)
class Track:
    """One face through consecutive frames of one shot.

    Attributes:
        start: number of its first frame.
        boxes: float32 (n, 4).
        landmarks: float32 (n, 5, 2), NaN where unknown.
        scores: float32 (n,); 0 where not detected.
        detected: bool (n,); elsewhere box and landmarks are interpolated.
        likeness: float32 (d,) of length 1, the mean of several `faces.likeness`; None if not asked.
        portrait: uint8 (size, size, 3) RGB, see `faces.portrait`; None if not asked.
    """

    start: int
    boxes: np.ndarray
    landmarks: np.ndarray
    scores: np.ndarray
    detected: np.ndarray
    likeness: np.ndarray | None = None
    portrait: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def frames(self) -> range:
        """Numbers of the frames it covers."""
        return range(self.start, self.start + len(self))


def track(
    frames: Iterable[np.ndarray],
    detector: str | Detector = "auto",
    *,
    every: int = 1,
    overlap: float = 0.3,
    max_gap: int = 12,
    cut: float = 0.3,
    portraits: bool = False,
) -> list[Track]:
    """Follows every face through a stream of frames, holding one frame at a time.

    A face continues the track whose last box it overlaps most. A scene cut, seen as a change of
    the colour histogram, ends all tracks.

    Args:
        frames: uint8 (height, width, 3) RGB images.
        detector: see `detect`.
        every: detect in each `every`-th frame and interpolate between.
        overlap: least intersection over union of a face with its track.
        max_gap: frames without detection that are interpolated; a longer gap ends the track.
        cut: least change of the histogram (0 same, 1 disjoint) that is a cut.
        portraits: keep what each face looks like.

    Returns:
        Tracks in the order of their first frames.
    """
    if every < 1:
        raise ValueError(f"every={every}: detection needs a step of at least one frame")
    find = get_detector(detector) if isinstance(detector, str) else detector
    live: list[_Trail] = []
    done: list[Track] = []
    number, look, histogram = -1, 0, None
    for number, rgb in enumerate(frames):
        before, histogram = histogram, _histogram(rgb)
        if before is not None and np.abs(histogram - before).sum() / 2 > cut:
            done += [_fill(trail, number, every) for trail in live]
            live, look = [], number
        if number < look:
            continue
        look = number + every
        _link(live, [(number, face) for face in detect(rgb, find)], overlap)
        if portraits:
            for trail in live:
                trail.look(rgb, number)
        ended = [trail for trail in live if number - trail.last > max_gap + every - 1]
        live = [trail for trail in live if number - trail.last <= max_gap + every - 1]
        done += [_fill(trail, trail.last + 1, 1) for trail in ended]
    done += [_fill(trail, number + 1, every) for trail in live]
    return sorted(done, key=lambda found: found.start)


def _histogram(rgb: np.ndarray) -> np.ndarray:
    """Fractions of 6 × 6 × 6 colours; a pixel counts for those around it, by nearness.

    With hard bins, a plain backdrop that flickers over a bin's edge would look like a cut.
    """
    small = cv2.resize(rgb, (64, 64), interpolation=cv2.INTER_AREA).reshape(-1, 3)
    place = small * ((_BINS - 1) / 255)
    low = np.minimum(place.astype(int), _BINS - 2)
    part = place - low
    counts = np.zeros(_BINS**3)
    for corner in np.ndindex(2, 2, 2):
        weight = np.where(corner, part, 1 - part).prod(axis=1)
        colour = (low + corner) @ (_BINS**2, _BINS, 1)
        counts += np.bincount(colour, weight, _BINS**3)
    return counts / len(small)


class _Trail:
    """A face that is being followed: its detections so far, and what it looked like."""

    def __init__(self, number: int, face: Face) -> None:
        self.points = [(number, face)]
        self._likenesses: list[np.ndarray] = []
        self._best = -1.0
        self.portrait: np.ndarray | None = None

    @property
    def last(self) -> int:
        return self.points[-1][0]

    def look(self, rgb: np.ndarray, number: int) -> None:
        """Remembers detections 1, 2, 4, 8, ...: few, and from all of its length."""
        count, (last, face) = len(self.points), self.points[-1]
        if last != number or count & (count - 1):
            return
        self._likenesses.append(likeness(rgb, face))
        size = face.score * float(face.box[3] - face.box[1])
        if size > self._best:
            self._best, self.portrait = size, portrait(rgb, face)

    def likeness(self) -> np.ndarray | None:
        if not self._likenesses:
            return None
        total = np.sum(self._likenesses, axis=0)
        return (total / np.linalg.norm(total)).astype(np.float32)


def _link(live: list[_Trail], faces: list[tuple[int, Face]], overlap: float) -> None:
    """Appends each face to its trail, best overlaps first; the rest begin new trails."""
    pairs = [
        (overlap_of(trail.points[-1][1].box, face[1].box)[0], i, j)
        for i, trail in enumerate(live)
        for j, face in enumerate(faces)
    ]
    trails, used = set(), set()
    for iou, i, j in sorted(pairs, reverse=True):
        if iou >= overlap and i not in trails and j not in used:
            live[i].points.append(faces[j])
            trails.add(i)
            used.add(j)
    live += [_Trail(*face) for j, face in enumerate(faces) if j not in used]


def _fill(trail: _Trail, end: int, every: int) -> Track:
    """Interpolates between detections, and holds the last for less than a detection step."""
    points = trail.points
    known = np.array([number for number, _ in points])
    numbers = np.arange(known[0], min(end, known[-1] + every))
    values = np.stack([np.concatenate([f.box, f.landmarks.ravel()]) for _, f in points])
    filled = np.stack([np.interp(numbers, known, column) for column in values.T], axis=1)
    detected = np.isin(numbers, known)
    scores = np.zeros(len(numbers), np.float32)
    scores[detected] = [face.score for _, face in points]
    filled = filled.astype(np.float32)
    boxes, landmarks = filled[:, :4], filled[:, 4:].reshape(-1, 5, 2)
    looks = trail.likeness(), trail.portrait
    return Track(int(known[0]), boxes, landmarks, scores, detected, *looks)


def main_track(tracks: Iterable[Track]) -> Track | None:
    """The track with the largest sum of face heights over its frames; None if there is none."""
    return max(tracks, key=lambda t: (t.boxes[:, 3] - t.boxes[:, 1]).sum(), default=None)
