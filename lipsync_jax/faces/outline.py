"""The outline of a face's lower half, from the colours of its skin, averaged over time.

Rays leave the middle of the mouth in all directions. On each ray the face ends where the colours of
the face (of cheeks and nose, lips and chin) change to others: where the sum of the evidence for
"face" along the ray is largest. Hair, a wall and a collar end a face; a neck and a wall of the
skin's colour do not. Such rays have no end, and there the mask keeps its shape.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from lipsync_jax.faces.temporal import past_weight

NUM_RAYS = 64
_NUM_STEPS = 40  # samples along a ray
_MASK_SIZE = 48  # largest side in pixels at which a mask is computed; larger ones are enlarged
_MIN_RADIUS, _MAX_RADIUS = 0.2, 2.0  # ends of the rays, in distances from eyes to mouth
_TIME_CONSTANT = 0.2  # seconds after which the weight of a frame is 1/e, in evidence and in outline
_SEARCH_INTERVAL = 0.06  # seconds between searches; between them outlines move with the landmarks
_MAX_DEVIATIONS = 3.0  # standard deviations of the face's colours up to which a colour is face
_TOLERANCE = (9.0, 4.0, 4.0)  # CIELAB units added to them, since light varies over a face
_CHIN_MARGIN = 0.2  # added below the chin, in distances from eyes to mouth
_MOUTH_CORNER_MARGIN = 0.22  # likewise, kept inside the outline around the mouth corners
_YAW_GAIN = 1.0  # shift of the sample points for a nose off the middle of the eyes by that much
_MIN_END_EVIDENCE = 0.6  # steps of other colours beyond an end; twice as many make it certain
# Sample points of colours: fraction across from image-left to image-right, and down from the eyes
# to the mouth corners.
_SKIN = [(s, t) for t in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8) for s in np.linspace(-0.1, 1.1, 9)]
_LIPS = [(s, t) for t in (0.94, 1.0, 1.06) for s in np.linspace(0.1, 0.9, 7)]
_CHIN = [(s, t) for t in (1.3, 1.4, 1.5, 1.6) for s in np.linspace(0.2, 0.8, 7)]
_SAMPLE_POINTS = tuple(np.array(part, np.float32) for part in (_SKIN, _LIPS, _CHIN))
_ANGLES = np.arange(NUM_RAYS) * (2 * math.pi / NUM_RAYS)
_COS, _SIN = np.cos(_ANGLES), np.sin(_ANGLES)
_LOWER_RAYS = np.flatnonzero(_SIN > -0.75)  # of a face's lower half
_RADII = np.linspace(_MIN_RADIUS, _MAX_RADIUS, _NUM_STEPS, dtype=np.float32)
_RAY_WEIGHTS = np.array([1, 2, 3, 2, 1], np.float32) / 9  # over neighbouring rays


class FaceFrame(NamedTuple):
    """Coordinates that move, rotate and scale with a face; lengths are fractions of its box.

    Attributes:
        centre: (2,), the middle of the mouth corners.
        across: (2,), the unit vector to the image's right.
        down: (2,), the unit vector from the eyes to the mouth.
        length: distance from the eyes to the mouth.
    """

    centre: np.ndarray
    across: np.ndarray
    down: np.ndarray
    length: float

    @classmethod
    def from_landmarks(cls, landmarks: np.ndarray) -> "FaceFrame":
        """Computes the frame of landmarks (5, 2): `faces.Face`, as fractions of the box, finite."""
        eyes, mouth = landmarks[:2].mean(axis=0), landmarks[3:].mean(axis=0)
        drop = mouth - eyes
        distance = float(np.hypot(*drop))
        down = drop / max(distance, 1e-6)
        return cls(mouth, np.array([down[1], -down[0]]), down, max(distance, 0.15))

    def coordinates(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns each pixel's distance across and down from the centre, in lengths, float32."""
        grid = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
        x, y = (
            grid[None, :] - np.float32(self.centre[0]),
            grid[:, None] - np.float32(self.centre[1]),
        )
        (a, b), (c, d) = (self.across / self.length), (self.down / self.length)
        return x * np.float32(a) + y * np.float32(b), x * np.float32(c) + y * np.float32(d)


class FaceOutline:
    """Tracks the outline of one face through a video; deterministic, of constant memory."""

    def __init__(self) -> None:
        self._evidence = np.zeros((NUM_RAYS, _NUM_STEPS), np.float32)  # weighted sum over frames
        self._weight = 0.0  # of that sum
        self._target = self._ends = np.zeros(NUM_RAYS, np.float32)
        self._seconds = self._last_search = -math.inf

    def __call__(self, lab: np.ndarray, landmarks: np.ndarray, seconds: float) -> np.ndarray:
        """Finds the outline in the next frame.

        Args:
            lab: the face's crop in CIELAB, float32 (size, size, 3), L of 0 to 100.
            landmarks: (5, 2), those of `faces.Face` as fractions of the crop, finite.
            seconds: time at which the frame is shown. A step backwards, or one of more than half a
                second, restarts the temporal average.

        Returns:
            float32 (NUM_RAYS,): the distance of the face's end from the centre of its `FaceFrame`
            along each ray (counted from `across` towards `down`), in lengths of that frame; at
            least 2 where the face has no visible end.
        """
        elapsed, since = seconds - self._seconds, seconds - self._last_search
        self._seconds = seconds
        past = past_weight(elapsed, _TIME_CONSTANT)
        if not past or since >= _SEARCH_INTERVAL:
            frame = FaceFrame.from_landmarks(landmarks)
            evidence, weight = _evidence(lab, landmarks, frame), 1.0
            if past:
                decay = math.exp(-since / _TIME_CONSTANT)
                evidence += self._evidence * np.float32(decay)
                weight += self._weight * decay
            self._evidence, self._weight, self._last_search = evidence, weight, seconds
            self._target = _ends(evidence / np.float32(weight), landmarks, frame)
        self._ends = self._target + np.float32(past) * (self._ends - self._target)
        return self._ends


def outline_mask(
    ends: np.ndarray, landmarks: np.ndarray, size: int, fade: float = 0.25
) -> np.ndarray:
    """Returns the mask of an outline's inside: 0 at the outline, 1 from `fade` lengths inside on.

    Args:
        ends: see `FaceOutline.__call__`.
        landmarks: those with which `ends` was found.
        size: rows and columns of the mask.
        fade: distance over which the mask rises, in units of `FaceFrame.length`.

    Returns:
        float32 (size, size).
    """
    # The shape is smooth and needs no more pixels.
    u, v = FaceFrame.from_landmarks(landmarks).coordinates(min(size, _MASK_SIZE))
    radius, angle = cv2.cartToPolar(u, v)
    position = angle * np.float32(NUM_RAYS / (2 * math.pi))
    ray = position.astype(np.int32)
    distances = np.minimum(ends, np.float32(99))
    distances = np.concatenate([distances, distances[:2]])  # an angle may be rounded to 2 pi
    near = distances[ray]
    depth = (
        near
        + (distances[1:][np.minimum(ray, NUM_RAYS)] - near) * (position - ray.astype(np.float32))
        - radius
    )
    t = np.clip(depth * np.float32(1 / fade), 0, 1)
    mask = t * t * (3 - 2 * t)
    return cv2.resize(mask, (size, size), interpolation=cv2.INTER_LINEAR)


def _evidence(lab: np.ndarray, landmarks: np.ndarray, frame: FaceFrame) -> np.ndarray:
    """Computes evidence from -1 (not face) to 1 along the rays; 0 upwards and beyond the crop."""
    size = len(lab)
    directions = np.outer(_COS[_LOWER_RAYS], frame.across) + np.outer(_SIN[_LOWER_RAYS], frame.down)
    start = (frame.centre * size - 0.5).astype(np.float32)
    steps = _RADII * np.float32(frame.length * size)
    x, y = (start[i] + directions[:, i : i + 1].astype(np.float32) * steps for i in range(2))
    polar = cv2.remap(lab, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    polar = polar.reshape(-1, 3)
    nearest = np.minimum.reduce([_distance(polar, c) for c in _part_colours(lab, landmarks)])
    inside = (x > 0) & (x < size - 1) & (y > 0) & (y < size - 1)
    face = np.clip(1 - nearest * np.float32(1 / _MAX_DEVIATIONS**2), -1, 1)
    evidence = np.zeros((NUM_RAYS, _NUM_STEPS), np.float32)
    evidence[_LOWER_RAYS] = face.reshape(-1, _NUM_STEPS) * inside
    return evidence


def _part_colours(lab: np.ndarray, landmarks: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the colours (n, 3) of each part of the face: skin, lips, chin."""
    size = len(lab)
    eyes, tip, mouth = landmarks[:2], landmarks[2], landmarks[3:]
    level = eyes[1] - eyes[0]
    # A turned face extends beyond the eye that is farther from the nose tip, not beyond the other.
    yaw = float((tip - eyes[0]) @ level) / max(float(level @ level), 1e-6) - 0.5
    aside = np.clip(_YAW_GAIN * yaw, -0.5, 0.5)
    for part in _SAMPLE_POINTS:
        s, t = part[:, :1] - aside, part[:, 1:]
        upper, lower = eyes[0] + s * level, mouth[0] + s * (mouth[1] - mouth[0])
        places = (upper + t * (lower - upper)) * size
        x, y = np.clip(places, 0, size - 1).astype(int).T
        yield lab[y, x]


def _distance(pixels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Computes the squared Mahalanobis distance of pixels (n, 3) from colours (m, 3) of a part."""
    middle = np.partition(colours, len(colours) // 2, axis=0)[len(colours) // 2]
    spread = colours - middle
    square = np.einsum("nc,nc->n", spread, spread)
    num_kept = len(square) * 4 // 5  # without outliers: nostrils, glasses, teeth
    spread = spread[np.argpartition(square, num_kept)[:num_kept]]
    covariance = spread.T @ spread / num_kept + np.diag(np.square(_TOLERANCE))
    root = np.linalg.cholesky(np.linalg.inv(covariance)).astype(np.float32)
    residual = (pixels - middle) @ root
    return np.einsum("nc,nc->n", residual, residual)


def _ends(evidence: np.ndarray, landmarks: np.ndarray, frame: FaceFrame) -> np.ndarray:
    total = np.cumsum(_smooth_over_rays(evidence), axis=1)
    most = total.max(axis=1, keepdims=True)
    # A soft argmax of the sum, so that the end does not jump from step to step.
    likely = np.exp(2 * (total - most))
    ends = likely @ _RADII / likely.sum(axis=1)
    # There is no visible end where the face continues up to the end of the ray or the crop.
    seen = np.clip((most[:, 0] - total[:, -1]) / _MIN_END_EVIDENCE - 1, 0, 1)
    ends = seen * ends + (1 - seen) * np.float32(_MAX_RADIUS)
    corners = (landmarks[3:] - frame.centre) / frame.length
    for u, v in zip(corners @ frame.across, corners @ frame.down, strict=True):
        toward = np.clip(np.cos(_ANGLES - math.atan2(v, u)), 0, 1)
        ends = np.maximum(ends, (math.hypot(u, v) + _MOUTH_CORNER_MARGIN) * toward * toward)
    ends = _smooth_over_rays(np.maximum(ends, 2 * _MOUTH_CORNER_MARGIN)[:, None])[:, 0]
    return (ends + _CHIN_MARGIN * np.clip(_SIN, 0, 1) ** 4).astype(np.float32)


def _smooth_over_rays(values: np.ndarray) -> np.ndarray:
    """Averages values (NUM_RAYS, n) over neighbouring rays."""
    values = values.astype(np.float32)
    around = np.concatenate([values[-2:], values, values[:2]])
    shifted = np.stack([around[i : i + NUM_RAYS] for i in range(5)])
    return np.einsum("k,krn->rn", _RAY_WEIGHTS, shifted)
