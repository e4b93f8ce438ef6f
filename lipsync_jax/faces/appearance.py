"""Whose face it is, as far as looks within one video tell: no recognition network is needed.

Compared are the gradients of the upright face and the colours of head and collar. That separates
the people of a film, shot by shot, as long as they keep their clothes and their light; it does not
recognise a person on another day.
"""

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np

from lipsync_jax.faces.boxes import area
from lipsync_jax.faces.crops import crop
from lipsync_jax.faces.detection import Face

# Least similarity of two tracks of one person, see `people`. Measured on six talking clips and six
# of GRID: 0.76 to 1 in frames of one speaker, 0.34 to 0.74 between speakers.
SAME = 0.76
_SIDE = 48  # pixels of the upright face
_CELL = 8  # pixels of a cell whose gradients are counted together
_ANGLES = 8
_SHADES = 4  # of each colour channel
_EYES, _MOUTH = (0.5, 0.36), (0.5, 0.72)  # their places in the upright face


def likeness(rgb: np.ndarray, face: Face) -> np.ndarray:
    """Describes a face, to be compared by scalar product with others of the same video.

    Args:
        rgb: uint8 (height, width, 3), RGB.
        face: where it is.

    Returns:
        float32 (352,) of length 1: histograms of oriented gradients (Dalal & Triggs 2005) of the
        upright face, and of the colours of head and collar, each half of it.
    """
    shape = _gradients(_upright(rgb, face))
    colours = _colours(crop(rgb, _head(face.box), 32))
    both = np.concatenate([shape / np.linalg.norm(shape), colours / np.linalg.norm(colours)])
    return (both / np.sqrt(2)).astype(np.float32)


def portrait(rgb: np.ndarray, face: Face, size: int = 96) -> np.ndarray:
    """Head and collar, uint8 RGB (size, size, 3)."""
    return crop(rgb, _head(face.box), size)


def people(spans: Sequence[range], likenesses: np.ndarray) -> list[int]:
    """Which tracks show the same person.

    Tracks are taken in their order; each goes to the person it resembles most, who may not be in
    the picture twice at once, or is a new one. So later tracks don't change earlier numbers.

    Args:
        spans: frames of each track.
        likenesses: (tracks, d), mean `likeness` of each, of length 1.

    Returns:
        A number for each track, 0 for the first person, 1 for the next.
    """
    members: list[list[int]] = []
    numbers = []
    for i, span in enumerate(spans):
        scores = [
            -1.0
            if any(span.start < spans[j].stop and spans[j].start < span.stop for j in person)
            else float(np.mean(likenesses[person] @ likenesses[i]))
            for person in members
        ]
        best = int(np.argmax(scores)) if scores else -1
        if best < 0 or scores[best] < SAME:
            best = len(members)
            members.append([])
        members[best].append(i)
        numbers.append(best)
    return numbers


def _head(box: np.ndarray) -> np.ndarray:
    """A square around hair, face and collar."""
    x0, y0, x1, y1 = (float(v) for v in box)
    half = 0.8 * max(np.sqrt(cast(float, max(area(box), 1.0))), 1.0)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2 + 0.1 * half
    return np.array([x - half, y - half, x + half, y + half])


def _upright(rgb: np.ndarray, face: Face) -> np.ndarray:
    """The face turned and scaled so that eyes and mouth are in their places; float32, grey."""
    if not np.isfinite(face.landmarks).all():
        small = crop(rgb, face.box, _SIDE)
        return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    eyes, mouth = face.landmarks[:2].mean(axis=0), face.landmarks[3:].mean(axis=0)
    # One complex factor turns and scales: from the upright face into the picture.
    to = _SIDE * (complex(*_MOUTH) - complex(*_EYES))
    factor = (complex(*mouth.tolist()) - complex(*eyes.tolist())) / to
    shift = complex(*eyes.tolist()) - factor * _SIDE * complex(*_EYES)
    matrix = np.array(
        [[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]
    )
    flags = cv2.INTER_AREA | cv2.WARP_INVERSE_MAP
    size = (_SIDE, _SIDE)
    image = cv2.warpAffine(rgb, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)


def _gradients(grey: np.ndarray) -> np.ndarray:
    """How strong edges of each direction are in each cell, with contrast evened out."""
    dy, dx = np.gradient(cv2.GaussianBlur(grey, (0, 0), 1))
    strength, angle = np.hypot(dx, dy), np.arctan2(dy, dx) % np.pi
    place = angle * (_ANGLES / np.pi)
    cells = _SIDE // _CELL
    counts = np.zeros((cells, cells, _ANGLES))
    rows, columns = np.indices(grey.shape) // _CELL
    for step in (0, 1):
        weight = 1 - np.abs(place - np.floor(place) - step)
        bins = (np.floor(place).astype(int) + step) % _ANGLES
        np.add.at(counts, (rows, columns, bins), strength * weight)
    counts = np.sqrt(counts / (counts.mean() + 1e-6)).ravel()
    return counts - counts.mean() + 1e-6


def _colours(rgb: np.ndarray) -> np.ndarray:
    place = rgb.reshape(-1, 3).astype(int) * _SHADES // 256
    counts = np.bincount(place @ (_SHADES**2, _SHADES, 1), minlength=_SHADES**3)
    return np.sqrt(counts)
