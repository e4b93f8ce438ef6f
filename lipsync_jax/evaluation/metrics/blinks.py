"""Blinks: how often and how long."""

from typing import NamedTuple

import numpy as np
import scipy.signal

_EYES = (slice(36, 42), slice(42, 48))  # of the 68-point scheme (iBUG)
CLOSING = 0.072  # least fall of the eye aspect ratio within one frame that is a blink
APART = 4  # frames; nearer falls are one blink


class Blinks(NamedTuple):
    """The blinks of a clip.

    Attributes:
        spans: int (blinks, 2), the frame at which each begins and the one at which it has ended.
        rate: blinks a second; people talking blink about 0.28 to 0.4 times.
        duration: mean seconds, NaN without blinks.
    """

    spans: np.ndarray
    rate: float
    duration: float


def eye_aspect_ratio(landmarks: np.ndarray) -> np.ndarray:
    """How open the eyes are: (|p2 − p6| + |p3 − p5|) / (2·|p1 − p4|), the mean of both eyes.

    Soukupová & Čech 2016, eq. 1. It doesn't depend on scale or rotation in the picture.

    Args:
        landmarks: (..., 68, 2), the 68-point scheme (iBUG).

    Returns:
        float64 (...), about 0.3 open and below 0.15 closed; NaN where landmarks are.
    """
    ratios = []
    for eye in _EYES:
        p = np.moveaxis(np.asarray(landmarks, np.float64)[..., eye, :], -2, 0)
        height = np.linalg.norm(p[1] - p[5], axis=-1) + np.linalg.norm(p[2] - p[4], axis=-1)
        ratios.append(height / (2 * np.linalg.norm(p[0] - p[3], axis=-1)))
    return np.mean(ratios, axis=0)


def blinks(openness: np.ndarray, frame_rate: float = 25.0) -> Blinks:
    """Blinks of a clip, as Vougioukas et al. 2020 count them.

    A blink is where the ratio falls by `CLOSING` or more within a frame; falls within `APART`
    frames are one. It begins at the last local maximum before that is above the middle of the
    clip's range, and ends at the next such maximum. The threshold is a fall in one frame, so it
    suits 25 frames a second.

    Args:
        openness: (frames,), see `eye_aspect_ratio`; NaN is bridged.
        frame_rate: frames a second.

    Raises:
        ValueError: no frame has a value.
    """
    openness = np.asarray(openness, np.float64)
    known = np.isfinite(openness)
    if openness.ndim != 1 or not known.any():
        raise ValueError("blinks need the openness of the eyes in at least one frame")
    frames = np.arange(len(openness))
    openness = np.interp(frames, frames[known], openness[known])
    falls, _ = scipy.signal.find_peaks(-np.diff(openness), height=CLOSING, distance=APART)
    starts, ends = _tops(openness)
    spans = []
    for number, fall in enumerate(falls):
        before = ends[ends <= fall]
        begin = before[-1] if len(before) else 0
        if number + 1 < len(falls):
            after = starts[(starts > fall) & (starts <= falls[number + 1])]
            if not len(after):
                continue  # the eyes never opened again before the next
        else:
            after = starts[starts > fall]
        spans.append((begin, after[0] if len(after) else len(openness) - 1))
    found = np.array(spans, int).reshape(-1, 2)
    lengths = (found[:, 1] - found[:, 0]) / frame_rate
    lengths = lengths[lengths > 0]
    return Blinks(
        spans=found,
        rate=len(found) * frame_rate / len(openness),
        duration=float(lengths.mean()) if len(lengths) else float("nan"),
    )


def _tops(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last frames of local maxima, level or not, above the middle of the range."""
    walled = np.pad(values, 1, constant_values=-np.inf)  # so that the clip's ends count
    middle = (values.min() + values.max()) / 2
    _, shape = scipy.signal.find_peaks(walled, height=middle, plateau_size=1)
    return shape["left_edges"] - 1, shape["right_edges"] - 1
