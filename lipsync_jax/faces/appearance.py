"""Identities of the faces within one video by their appearance, without a recognition network.

The descriptor has the gradients of the upright face and the colours of head and collar. It
separates the identities of one video as long as clothes and light stay; it does not recognise a
person in another recording.
"""

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np

from lipsync_jax.faces.boxes import area
from lipsync_jax.faces.crops import crop
from lipsync_jax.faces.detection import Face

# Least cosine similarity of two tracks of one identity, see `cluster_identities`. Measured on six
# talking clips and six of GRID: 0.76 to 1 within a speaker, 0.34 to 0.74 between speakers.
SAME_IDENTITY_THRESHOLD = 0.76
_SIDE = 48  # pixels of the upright face
_CELL = 8  # pixels of a side of a histogram cell
_ANGLE_BINS = 8
_COLOUR_BINS = 4  # of each colour channel
_EYES, _MOUTH = (0.5, 0.36), (0.5, 0.72)  # (x, y) in the upright face


def appearance_descriptor(rgb: np.ndarray, face: Face) -> np.ndarray:
    """Computes a descriptor of a face, to be compared by dot product within one video.

    Args:
        rgb: uint8 (height, width, 3), RGB.
        face: its box and landmarks.

    Returns:
        float32 (352,) of length 1: histograms of oriented gradients (Dalal & Triggs 2005) of the
        upright face, and of the colours of head and collar, with equal weights.
    """
    gradient_histogram = _gradient_histogram(_align_upright(rgb, face))
    colour_histogram = _colour_histogram(crop(rgb, _head(face.box), 32))
    descriptor = np.concatenate(
        [
            gradient_histogram / np.linalg.norm(gradient_histogram),
            colour_histogram / np.linalg.norm(colour_histogram),
        ]
    )
    return (descriptor / np.sqrt(2)).astype(np.float32)


def thumbnail(rgb: np.ndarray, face: Face, size: int = 96) -> np.ndarray:
    """Returns a crop of head and collar, uint8 RGB (size, size, 3)."""
    return crop(rgb, _head(face.box), size)


def cluster_identities(spans: Sequence[range], descriptors: np.ndarray) -> list[int]:
    """Clusters tracks by identity.

    Tracks are assigned in their order: each to the most similar identity that is not in the same
    frames already, or to a new one. Later tracks do not change the labels of earlier ones.

    Args:
        spans: frames of each track.
        descriptors: (tracks, d), mean `appearance_descriptor` of each, of length 1.

    Returns:
        A label for each track, from 0 in the order of first appearance.
    """
    clusters: list[list[int]] = []
    labels = []
    for i, span in enumerate(spans):
        scores = [
            -1.0
            if any(span.start < spans[j].stop and spans[j].start < span.stop for j in cluster)
            else float(np.mean(descriptors[cluster] @ descriptors[i]))
            for cluster in clusters
        ]
        best = int(np.argmax(scores)) if scores else -1
        if best < 0 or scores[best] < SAME_IDENTITY_THRESHOLD:
            best = len(clusters)
            clusters.append([])
        clusters[best].append(i)
        labels.append(best)
    return labels


def _head(box: np.ndarray) -> np.ndarray:
    """Returns a square box around hair, face and collar."""
    x0, y0, x1, y1 = (float(v) for v in box)
    half = 0.8 * max(np.sqrt(cast(float, max(area(box), 1.0))), 1.0)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2 + 0.1 * half
    return np.array([x - half, y - half, x + half, y + half])


def _align_upright(rgb: np.ndarray, face: Face) -> np.ndarray:
    """Aligns a face so that eyes and mouth are at _EYES and _MOUTH; float32, grey."""
    if not np.isfinite(face.landmarks).all():
        small = crop(rgb, face.box, _SIDE)
        return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    eyes, mouth = face.landmarks[:2].mean(axis=0), face.landmarks[3:].mean(axis=0)
    # One complex factor rotates and scales from the upright face to the image.
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


def _gradient_histogram(grey: np.ndarray) -> np.ndarray:
    """Computes the strength of edges of each direction in each cell, of normalized contrast."""
    dy, dx = np.gradient(cv2.GaussianBlur(grey, (0, 0), 1))
    strength, angle = np.hypot(dx, dy), np.arctan2(dy, dx) % np.pi
    angle_bin = angle * (_ANGLE_BINS / np.pi)
    cells = _SIDE // _CELL
    counts = np.zeros((cells, cells, _ANGLE_BINS))
    rows, columns = np.indices(grey.shape) // _CELL
    for step in (0, 1):
        weight = 1 - np.abs(angle_bin - np.floor(angle_bin) - step)
        bins = (np.floor(angle_bin).astype(int) + step) % _ANGLE_BINS
        np.add.at(counts, (rows, columns, bins), strength * weight)
    counts = np.sqrt(counts / (counts.mean() + 1e-6)).ravel()
    return counts - counts.mean() + 1e-6


def _colour_histogram(rgb: np.ndarray) -> np.ndarray:
    colour_bin = rgb.reshape(-1, 3).astype(int) * _COLOUR_BINS // 256
    counts = np.bincount(colour_bin @ (_COLOUR_BINS**2, _COLOUR_BINS, 1), minlength=_COLOUR_BINS**3)
    return np.sqrt(counts)
