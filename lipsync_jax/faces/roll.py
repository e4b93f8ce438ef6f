"""Heads that are tilted in the image plane (roll): how far, and their crops turned upright.

Detectors of upright faces also find tilted ones, up to upside-down, but with a lower score, and
their landmarks are then those of an upright face. So where a score is low or the landmarks are
tilted, the face is detected again in copies of its surroundings at several angles. The score is
highest where the face is upright, and there box and landmarks are right.
"""

import dataclasses
import functools
from typing import NamedTuple

import cv2
import numpy as np

from lipsync_jax.faces.crops import crop
from lipsync_jax.faces.detection import DETECTORS, get_detector
from lipsync_jax.faces.detectors.base import Detector, Face
from lipsync_jax.media.planar import Image, PlanarImage
from lipsync_jax.types import Untyped

_STEP = 30.0  # degrees between the angles that are tried
_SIZE = 128  # rows and columns of the turned copies
_VIEW_SCALE = 2.0  # their side, in mean sides of the face's box
_MAX_LOW_SCORE = 0.915  # upright faces seldom score less, faces tilted by 45 degrees always
_MIN_LANDMARK_ROLL = 6.0  # degrees; detectors report less than half of a roll
_MIN_SCORE_AGAIN = 0.8  # of a tilted face that is only detected where it was before
_MIN_UPRIGHT_SCORE = 0.91  # below it, at the best angle so far, all angles are tried
_MIN_GAIN = 0.015  # of the score over that at 0 degrees: about that of a roll of 25 degrees
_MIN_ROLL = 10.0  # degrees; a face that is tilted less is upright again
_FULL_ROLLS = (12.0, 24.0)  # degrees: faces tilted less are not turned, those tilted more fully
_MARGIN = 2  # pixels of a view around the box


def landmark_roll(landmarks: np.ndarray) -> np.ndarray:
    """Computes by how many degrees heads are turned clockwise.

    Args:
        landmarks: (..., 5, 2), see `Face`.

    Returns:
        float64 (...), -180 to 180; 0 where the landmarks are unknown.
    """
    points = np.nan_to_num(np.asarray(landmarks, np.float64))
    across = points[..., 1, :] - points[..., 0, :]
    down = points[..., 3:, :].mean(axis=-2) - points[..., :2, :].mean(axis=-2)
    down = np.stack([down[..., 1], -down[..., 0]], axis=-1)  # across, if the head is upright
    total = sum(
        v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9) for v in (across, down)
    )
    return np.degrees(np.arctan2(total[..., 1], total[..., 0]))


def known_roll(face: Face) -> float:
    """Returns the roll of a face in degrees; 0 if it is upright, or the landmarks are unknown."""
    roll = float(landmark_roll(face.landmarks))
    return roll if abs(roll) >= _MIN_ROLL else 0.0


def crop_roll(roll: np.ndarray) -> np.ndarray:
    """Returns by how many degrees the crops of heads are turned: not at all for small rolls.

    Networks are trained on heads that are tilted a little. The angle grows steadily with the
    head's, so that no crop jumps.
    """
    low, high = _FULL_ROLLS
    t = np.clip((np.abs(roll) - low) / (high - low), 0, 1)
    return roll * t * t * (3 - 2 * t)


def turned(vectors: np.ndarray, degrees: np.ndarray | float) -> np.ndarray:
    """Turns vectors (..., 2), x and y, clockwise."""
    angle = np.radians(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = vectors[..., 0], vectors[..., 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


def find_roll(image: Image, face: Face, detector: str | Detector, expected: float = 0.0) -> Face:
    """Corrects the detection of a face that may be tilted.

    Args:
        image: as of `detect`.
        face: a face of it.
        detector: that detected the face; with others than those of this package, and where the
            landmarks are unknown, the face is returned as it is.
        expected: the roll of this face shortly before, degrees; 0 if it was upright.

    Returns:
        The face itself if it is upright. Otherwise its true landmarks, and a box of the upright
        face's size around the centre of the tilted one.
    """
    at_size = _at_size(detector)
    if at_size is None or not np.isfinite(face.landmarks).all():
        return face
    suspicious = face.score < _MAX_LOW_SCORE
    suspicious |= abs(float(landmark_roll(face.landmarks))) > _MIN_LANDMARK_ROLL
    if not expected and not suspicious:
        return face
    search = _Search(image, face, at_size)
    best = search.best_angle(expected)
    if not expected and search.score(best) < search.score(0.0) + _MIN_GAIN:
        return face
    angle = search.peak(best)
    return face if abs(angle) < _MIN_ROLL else search.face(angle) or face


def find_tilted_again(image: Image, face: Face, detector: str | Detector) -> Face | None:
    """Detects a tilted face where it was shortly before; None if it is not there.

    Args:
        image: as of `detect`, which has not found the face in it.
        face: as it was before.
        detector: as of `find_roll`.
    """
    at_size = _at_size(detector)
    if at_size is None or not (expected := known_roll(face)):
        return None
    search = _Search(image, face, at_size)
    found = search.face(search.peak(search.best_angle(expected)))
    return found if found is not None and found.score >= _MIN_SCORE_AGAIN else None


def _at_size(detector: str | Detector) -> Detector | None:
    """Returns the detector for the turned copies; None for one of another package."""
    if isinstance(detector, str):
        detector = get_detector(detector)
    if getattr(detector, "func", detector) not in DETECTORS.values():
        return None
    at_size: Untyped = functools.partial(detector, sizes=(_SIZE,))  # type: ignore[call-arg]
    return at_size


class _Search:
    """Detects one face in turned copies of its surroundings."""

    def __init__(self, image: Image, face: Face, detector: Detector) -> None:
        corners = face.box.reshape(2, 2).astype(np.float64)
        self._centre = corners.mean(axis=0)
        self._side = _VIEW_SCALE * max(float((corners[1] - corners[0]).mean()), 1.0)
        # Large enough for the corners of a view at any angle.
        self._size = round(_SIZE * 1.42)
        half = self._side * self._size / _SIZE / 2
        box = np.concatenate([self._centre - half, self._centre + half])
        self._around, self._detector = crop(image, box, self._size), detector
        self._found: dict[float, Face | None] = {}

    def best_angle(self, angle: float) -> float:
        """Returns the angle with the highest score: near the one given, if the score is high."""
        neighbours = (angle, angle - _STEP, angle + _STEP)
        while (best := max(neighbours, key=self.score)) != angle:
            angle, neighbours = best, (best, best - _STEP, best + _STEP)
        if self.score(angle) < _MIN_UPRIGHT_SCORE:
            angle = max((angle + _STEP * i for i in range(round(360 / _STEP))), key=self.score)
        return angle

    def peak(self, best: float) -> float:
        """Returns the top of the parabola through the scores around the best angle, degrees."""
        before, here, after = (self.score(best + step) for step in (-_STEP, 0, _STEP))
        best += _STEP / 2 * (after - before) / max(2 * here - before - after, 1e-6)
        return (best + 180) % 360 - 180

    def score(self, angle: float) -> float:
        found = self._detect(angle)
        return 0.0 if found is None else found.score

    def face(self, angle: float) -> Face | None:
        """Returns the face, with the landmarks that were detected in the copy at this angle."""
        found = self._detect(angle)
        if found is None:
            return None
        scale = self._side / _SIZE

        def to_image(points: np.ndarray) -> np.ndarray:
            return turned(points - _SIZE / 2, angle) * scale + self._centre

        corners = found.box.reshape(2, 2)
        half = (corners[1] - corners[0]) * scale / 2
        centre = to_image(corners.mean(axis=0))
        box = np.concatenate([centre - half, centre + half]).astype(np.float32)
        return dataclasses.replace(
            found, box=box, landmarks=to_image(found.landmarks).astype(np.float32)
        )

    def _detect(self, angle: float) -> Face | None:
        key = round(angle % 360, 3)
        if key not in self._found:
            start = turned(np.full(2, -_SIZE / 2), angle) + self._size / 2
            view = _warp(self._around, turned(np.eye(2), angle).T, start, (_SIZE, _SIZE))
            middle = [
                face
                for face in self._detector(view)
                if np.abs(face.box.reshape(2, 2).mean(axis=0) / _SIZE - 0.5).max() < 0.25
            ]
            self._found[key] = max(middle, key=lambda face: face.score, default=None)
        return self._found[key]


class UprightView(NamedTuple):
    """The surroundings of a tilted face, turned upright, at the image's resolution.

    Attributes:
        image: uint8 RGB (rows, columns, 3).
        box: (4,), the face's box in it.
        matrix: float64 (3, 3), from (x, y, 1) in the face's image to the view; integers are the
            centres of pixels, as in `faces.alignment`.
    """

    image: np.ndarray
    box: np.ndarray
    matrix: np.ndarray


def upright_view(image: Image, box: np.ndarray, roll: float) -> UprightView:
    """Turns the surroundings of a face upright.

    Args:
        image: uint8 RGB (height, width, 3), or a frame in planes.
        box: (4,), turned by `roll` around its centre.
        roll: degrees, clockwise.
    """
    corners = np.asarray(box, np.float64).reshape(2, 2)
    sides = corners[1] - corners[0]
    columns, rows = np.maximum(1, np.rint(sides)).astype(int).tolist()
    to_image = turned(np.diag(sides / [columns, rows]), roll).T
    middle = np.array([columns, rows]) / 2 + _MARGIN
    start = corners.mean(axis=0) - to_image @ middle
    shape = rows + 2 * _MARGIN, columns + 2 * _MARGIN
    if isinstance(image, PlanarImage):
        view = image.resampled(
            lambda plane, factor, offset: _warp(
                plane, to_image * factor, start * factor + offset, shape
            )
        )
    else:
        view = _warp(image, to_image, start, shape)
    inverse = np.eye(3)
    inverse[:2, :2], inverse[:2, 2] = to_image, to_image @ (0.5, 0.5) + start - 0.5
    inside = np.array([0, 0, columns, rows]) + _MARGIN
    return UprightView(view, inside, np.linalg.inv(inverse))


def crop_upright(image: Image, box: np.ndarray, roll: float, size: int) -> np.ndarray:
    """Crops a face's box that is turned by `roll` degrees; see `crop`."""
    if not roll:
        return crop(image, box, size)
    view = upright_view(image, box, roll)
    return crop(view.image, view.box, size)


def _warp(
    image: np.ndarray, matrix: np.ndarray, start: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Samples an image at matrix @ (x, y) + start; pixel (x, y) of the result covers [x, x + 1)."""
    shift = matrix @ (0.5, 0.5) + start - 0.5
    return cv2.warpAffine(
        image,
        np.concatenate([matrix, shift[:, None]], axis=1),
        shape[::-1],
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
