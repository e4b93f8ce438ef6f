"""Face tracking through consecutive frames."""

import dataclasses
import functools
from array import array
from collections import Counter
from collections.abc import Callable, Iterable

import cv2
import numpy as np

from lipsync_jax.faces import following
from lipsync_jax.faces.appearance import appearance_descriptor, thumbnail
from lipsync_jax.faces.boxes import overlap_ratios
from lipsync_jax.faces.detection import Detector, Face, detect, get_detector
from lipsync_jax.faces.roll import find_roll, find_tilted_again, known_roll
from lipsync_jax.media.planar import Image, PlanarImage, to_rgb

_COLOUR_BINS = 6  # of each colour channel, for scene cuts
_MIN_FOLLOWED_IOU = 0.6  # of a face's boxes at both ends of the frames through which it is followed
PER_FRAME = ("boxes", "landmarks", "scores", "detected")  # fields of a track with a row a frame


@dataclasses.dataclass(frozen=True)
class Track:
    """One face through consecutive frames of one shot.

    Attributes:
        start: number of its first frame.
        boxes: float32 (n, 4).
        landmarks: float32 (n, 5, 2), NaN where unknown.
        scores: float32 (n,); 0 where not detected.
        detected: bool (n,); elsewhere box and landmarks are interpolated or followed.
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

    @property
    def prominence(self) -> float:
        """Returns the sum of the heights of its boxes, pixels: of large faces that stay long."""
        return float((self.boxes[:, 3] - self.boxes[:, 1]).sum())

    def select(self, rows: slice | np.ndarray, start: int) -> "Track":
        """Returns the track over some of its frames.

        Args:
            rows: of the arrays, in any order.
            start: number of the first of these frames.
        """
        arrays = {name: getattr(self, name)[rows] for name in PER_FRAME}
        return dataclasses.replace(self, start=start, **arrays)


def track_faces(
    frames: Iterable[Image],
    detector: str | Detector = "auto",
    *,
    detect_every: int = 1,
    min_iou: float = 0.3,
    max_gap: int = 12,
    scene_cut_threshold: float = 0.3,
    with_appearance: bool = False,
    follow: bool = False,
) -> list[Track]:
    """Tracks every face through a stream of frames, with `detect_every` frames in memory.

    A face continues the track whose last box it overlaps most. A scene cut, detected by a change
    of the colour histogram, ends all tracks.

    Args:
        frames: uint8 (height, width, 3) RGB images, or frames in planes.
        detector: see `detect`.
        detect_every: detect in every n-th frame and interpolate between.
        min_iou: least intersection over union of a face with its track.
        max_gap: frames without detection that are interpolated; a longer gap ends the track.
        scene_cut_threshold: least change of the histogram (0 same, 1 disjoint) that is a cut.
        with_appearance: compute descriptors and thumbnails.
        follow: between two detections follow faces by optical flow, and detect in these frames too
            where a face appears, vanishes or moves far; also in the last frame of every shot.

    Returns:
        Tracks in the order of their first frames.
    """
    tracker = FaceTracker(
        detector,
        detect_every=detect_every,
        min_iou=min_iou,
        max_gap=max_gap,
        scene_cut_threshold=scene_cut_threshold,
        with_appearance=with_appearance,
        follow=follow,
    )
    for image in frames:
        tracker.add(image)
    return tracker.end()


def _colour_histogram(image: Image) -> np.ndarray:
    """Computes a 6 × 6 × 6 colour histogram with linear interpolation between bins.

    With hard bins, a plain backdrop that flickers over the edge of a bin would count as a cut.
    """
    if isinstance(image, PlanarImage):
        small = image.resized((64, 64))
    else:
        small = cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA)
    position = small.reshape(-1, 3).T * np.float32((_COLOUR_BINS - 1) / 255)
    lower = np.minimum(position.astype(np.int64), _COLOUR_BINS - 2)
    shares = np.stack([1 - (position - lower), position - lower])  # (2, channels, pixels)
    steps = np.array([_COLOUR_BINS**2, _COLOUR_BINS, 1])
    first, histogram = steps @ lower, np.zeros(_COLOUR_BINS**3)
    for corner in np.ndindex(2, 2, 2):  # the eight bins around a colour
        weights = shares[corner[0], 0] * shares[corner[1], 1] * shares[corner[2], 2]
        histogram += np.bincount(first + steps @ corner, weights, len(histogram))
    return histogram / len(first)


class _ActiveTrack:
    """A track that may continue: its positions so far, and its appearance."""

    def __init__(self, number: int, face: Face) -> None:
        # In buffers of numbers: small arrays among those of frames would fragment the memory.
        self.numbers, self.scores = array("q"), array("d")
        self.points = array("d")  # of each detection the box, then the landmarks
        # Frame; x and y to add to the interpolation. Numbers, since this grows with the video.
        self.followed: list[tuple[int, float, float]] = []
        self._descriptors: list[np.ndarray] = []
        self._best = -1.0
        self.thumbnail: np.ndarray | None = None
        self.add(number, face)

    def add(self, number: int, face: Face) -> None:
        """Adds the detection of a frame."""
        self.face = face  # the last one
        self.numbers.append(number)
        self.scores.append(face.score)
        self.points.extend(face.box.ravel().tolist())
        self.points.extend(face.landmarks.ravel().tolist())

    @property
    def last_frame(self) -> int:
        return self.numbers[-1]

    def update_appearance(self, image: Image, number: int) -> None:
        """Adds the descriptors of detections 1, 2, 4, 8, ..., few and spread over time."""
        count, face = len(self.numbers), self.face
        if self.last_frame != number or count & (count - 1):
            return
        rgb = to_rgb(image)
        self._descriptors.append(appearance_descriptor(rgb, face))
        quality = face.score * float(face.box[3] - face.box[1])
        if quality > self._best:
            self._best, self.thumbnail = quality, thumbnail(rgb, face)

    def mean_descriptor(self) -> np.ndarray | None:
        if not self._descriptors:
            return None
        total = np.sum(self._descriptors, axis=0)
        return (total / np.linalg.norm(total)).astype(np.float32)


class FaceTracker:
    """Links the detections of a stream of frames to tracks, see `track_faces`.

    Attributes:
        cuts: number of the first frame after each scene cut.
    """

    def __init__(
        self,
        detector: str | Detector = "auto",
        *,
        detect_every: int = 1,
        min_iou: float = 0.3,
        max_gap: int = 12,
        scene_cut_threshold: float = 0.3,
        with_appearance: bool = False,
        follow: bool = False,
        find_rolls: bool = False,
    ) -> None:
        """Takes the options of `track_faces`; and whether to correct tilted faces, see `roll`."""
        if detect_every < 1:
            raise ValueError(f"detect_every={detect_every}: give a step of at least one frame")
        self._detector = get_detector(detector) if isinstance(detector, str) else detector
        self._detect_every, self._min_iou, self._max_gap = detect_every, min_iou, max_gap
        self._scene_cut_threshold = scene_cut_threshold
        self._with_appearance, self._follow = with_appearance, follow
        self._find_rolls = find_rolls
        self._active: list[_ActiveTrack] = []
        self._finished: list[Track] = []
        self._last: tuple[int, Image] | None = None  # the frame of the last detection
        self._passed: list[tuple[int, Image]] = []  # the frames since
        self._count, self._next_detection = 0, 0
        self._histogram: np.ndarray | None = None
        self.cuts: list[int] = []

    def add(self, image: Image) -> None:
        """Takes the next frame."""
        number, previous = self._count, self._histogram
        self._count, self._histogram = number + 1, _colour_histogram(image)
        if previous is not None:
            change = np.abs(self._histogram - previous).sum() / 2
            if change > self._scene_cut_threshold:
                self._end_shot(number)
                self.cuts.append(number)
                self._next_detection = number
        if number >= self._next_detection:
            self._next_detection = number + self._detect_every
            self._detect(number, image)
        elif self._follow:
            self._passed.append((number, image))

    def end(self) -> list[Track]:
        """Returns the tracks in the order of their first frames, after the last frame."""
        self._end_shot(self._count)
        return sorted(self._finished, key=lambda track: track.start)

    def tracks_so_far(self) -> tuple[list[Track], int]:
        """Returns what is known of the tracks before the last frame.

        Returns:
            The tracks up to their last detections, in the order of their first frames; and the
            number of frames in which no later frame will change them.
        """
        active = [_interpolate(each, each.last_frame + 1, 1) for each in self._active]
        tracks = sorted([*self._finished, *active], key=lambda track: track.start)
        last = -1 if self._last is None else self._last[0]
        # A face that was not detected since may appear again, and is interpolated then.
        return tracks, 1 + min([last, *(each.last_frame for each in self._active)])

    def _detect(self, number: int, image: Image) -> None:
        """Detects the faces of a frame, and settles the frames since the last detection."""
        faces = self._find(image)
        if self._passed:
            self._settle_passed(number, image, faces)
        self._link(number, image, faces)
        self._last = number, image

    def _find(self, image: Image) -> list[Face]:
        """Detects the faces of a frame; tilted ones as they are, see `roll`."""
        faces = detect(image, self._detector)
        if not self._find_rolls:
            return faces
        known = [each.face for each in self._active]
        pairs = _match(known, faces, self._min_iou)
        rolls = {j: known_roll(known[i]) for i, j in pairs}
        corrected = [
            find_roll(image, face, self._detector, rolls.get(j, 0.0))
            for j, face in enumerate(faces)
        ]
        for i in set(range(len(known))) - {i for i, _ in pairs}:
            if again := find_tilted_again(image, known[i], self._detector):
                if not _match([again], corrected, self._min_iou):
                    corrected.append(again)
        return corrected

    def _end_shot(self, end: int) -> None:
        """Ends all tracks before frame `end`."""
        if self._passed:
            self._detect(*self._passed.pop())
        extension = 1 if self._follow else self._detect_every
        self._finished += [_interpolate(each, end, extension) for each in self._active]
        self._active, self._last = [], None

    def _settle_passed(self, number: int, image: Image, faces: list[Face]) -> None:
        passed, self._passed = self._passed, []
        last = -1 if self._last is None else self._last[0]
        present = [each for each in self._active if each.last_frame == last]
        pairs = _match([each.face for each in present], faces, _MIN_FOLLOWED_IOU)
        if not len(pairs) == len(present) == len(faces):
            for passed_number, passed_image in passed:
                self._link(passed_number, passed_image, self._find(passed_image))
            return
        if not pairs or self._last is None:
            return
        images = [self._last[1], *(each for _, each in passed), image]
        for i, _ in pairs:
            moved = following.deviations(images, present[i].face.box)
            between = zip((n for n, _ in passed), moved[1:-1].tolist(), strict=True)
            present[i].followed += [(n, x, y) for n, (x, y) in between]

    def _likeness(self, image: Image, faces: list[Face]) -> Callable[[int, int], float] | None:
        """Returns (i, j) -> how much active track i looks like face j; None without appearance."""
        if not self._with_appearance:
            return None
        looks = [each.mean_descriptor() for each in self._active]

        @functools.cache
        def descriptor(j: int) -> np.ndarray:
            return appearance_descriptor(to_rgb(image), faces[j])

        def likeness(i: int, j: int) -> float:
            look = looks[i]
            return 0.0 if look is None else max(float(look @ descriptor(j)), 0.0)

        return likeness

    def _link(self, number: int, image: Image, faces: list[Face]) -> None:
        """Appends each face to a track, best overlaps first; the other faces begin new tracks.

        Where people pass each other, a face that overlaps two tracks continues the one that it
        looks like.
        """
        active = self._active
        known = [each.face for each in active]
        pairs = _match(known, faces, self._min_iou, self._likeness(image, faces))
        for i, j in pairs:
            active[i].add(number, faces[j])
        matched = {j for _, j in pairs}
        active += [_ActiveTrack(number, f) for j, f in enumerate(faces) if j not in matched]
        if self._with_appearance:
            for active_track in active:
                active_track.update_appearance(image, number)
        earliest = number - (self._max_gap + self._detect_every - 1)
        ended = [each for each in active if each.last_frame < earliest]
        self._active = [each for each in active if each.last_frame >= earliest]
        self._finished += [_interpolate(each, each.last_frame + 1, 1) for each in ended]


def _match(
    known: list[Face],
    faces: list[Face],
    min_iou: float,
    likeness: Callable[[int, int], float] | None = None,
) -> list[tuple[int, int]]:
    """Returns pairs of indices of faces that overlap, the best overlaps first.

    With `likeness`, (index of known, index of face) -> 0 to 1, a face that overlaps several known
    ones is paired by it instead, before the others.
    """
    overlaps = [
        (overlap_ratios(one.box, other.box)[0], i, j)
        for i, one in enumerate(known)
        for j, other in enumerate(faces)
    ]
    if likeness is not None:
        candidates = [(i, j) for iou, i, j in overlaps if iou >= min_iou]
        count = Counter(j for _, j in candidates)
        overlaps = [
            (1 + likeness(i, j) if iou >= min_iou and count[j] > 1 else iou, i, j)
            for iou, i, j in overlaps
        ]
    pairs: list[tuple[int, int]] = []
    first, second = set(), set()
    for iou, i, j in sorted(overlaps, reverse=True):
        if iou >= min_iou and i not in first and j not in second:
            pairs.append((i, j))
            first.add(i)
            second.add(j)
    return pairs


def _interpolate(active_track: _ActiveTrack, end: int, detect_every: int) -> Track:
    """Interpolates between detections, and extends the last by less than `detect_every`."""
    detected_frames = np.array(active_track.numbers)
    numbers = np.arange(detected_frames[0], min(end, detected_frames[-1] + detect_every))
    values = np.array(active_track.points).reshape(len(detected_frames), -1)
    interpolated = np.stack(
        [np.interp(numbers, detected_frames, column) for column in values.T], axis=1
    )
    for number, *moved in active_track.followed:
        points_moved = interpolated[number - detected_frames[0]].reshape(-1, 2)
        points_moved += moved  # a view: all corners and landmarks move alike
    detected = np.isin(numbers, detected_frames)
    scores = np.zeros(len(numbers), np.float32)
    scores[detected] = active_track.scores
    interpolated = interpolated.astype(np.float32)
    boxes, landmarks = interpolated[:, :4], interpolated[:, 4:].reshape(-1, 5, 2)
    appearance = active_track.mean_descriptor(), active_track.thumbnail
    return Track(int(detected_frames[0]), boxes, landmarks, scores, detected, *appearance)


def main_track(tracks: Iterable[Track]) -> Track | None:
    """Returns the most prominent track; None without one."""
    return max(tracks, key=lambda track: track.prominence, default=None)
