"""Rate and duration of blinks."""

from typing import NamedTuple

import numpy as np
import scipy.signal
from jaxtyping import Float, Num

_EYES = (slice(36, 42), slice(42, 48))  # of the 68-point scheme (iBUG)
MIN_EAR_DROP = 0.072  # least decrease of the eye aspect ratio within one frame in a blink
MIN_SEPARATION = 4  # frames; closer decreases are one blink


class Blinks(NamedTuple):
    """The blinks of a clip.

    Attributes:
        intervals: int (blinks, 2), the frame at which each begins and the one at which it has
            ended.
        rate: blinks a second; speakers have about 0.28 to 0.4.
        duration: mean seconds, NaN without blinks.
    """

    intervals: np.ndarray
    rate: float
    duration: float


def eye_aspect_ratio(landmarks: Num[np.ndarray, "*n 68 2"]) -> Float[np.ndarray, "*n"]:
    """Computes the eye aspect ratio (|p2 − p6| + |p3 − p5|) / (2·|p1 − p4|), the mean of both eyes.

    Soukupová & Čech 2016, eq. 1. Invariant to scale and rotation in the image plane.

    Args:
        landmarks: (..., 68, 2), the 68-point scheme (iBUG).

    Returns:
        float64 (...), about 0.3 for open eyes, below 0.15 for closed ones; NaN where landmarks are.
    """
    ratios = []
    for eye in _EYES:
        p = np.moveaxis(np.asarray(landmarks, np.float64)[..., eye, :], -2, 0)
        height = np.linalg.norm(p[1] - p[5], axis=-1) + np.linalg.norm(p[2] - p[4], axis=-1)
        ratios.append(height / (2 * np.linalg.norm(p[0] - p[3], axis=-1)))
    return np.mean(ratios, axis=0)


def blinks(openness: Num[np.ndarray, " frames"], frame_rate: float = 25.0) -> Blinks:
    """Detects the blinks of a clip as Vougioukas et al. 2020.

    A blink is a decrease of the ratio by `MIN_EAR_DROP` or more within a frame; decreases within
    `MIN_SEPARATION` frames are one blink. A blink begins at the last local maximum before the
    decrease that is above the middle of the clip's range, and ends at the next such maximum. The
    threshold applies to one frame at 25 frames a second.

    Args:
        openness: (frames,), see `eye_aspect_ratio`; NaN is interpolated.
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
    drops, _ = scipy.signal.find_peaks(
        -np.diff(openness), height=MIN_EAR_DROP, distance=MIN_SEPARATION
    )
    starts, ends = _peak_plateaus(openness)
    spans = []
    for number, drop in enumerate(drops):
        before = ends[ends <= drop]
        begin = before[-1] if len(before) else 0
        if number + 1 < len(drops):
            after = starts[(starts > drop) & (starts <= drops[number + 1])]
            if not len(after):
                continue  # the eyes did not open before the next blink
        else:
            after = starts[starts > drop]
        spans.append((begin, after[0] if len(after) else len(openness) - 1))
    found = np.array(spans, int).reshape(-1, 2)
    lengths = (found[:, 1] - found[:, 0]) / frame_rate
    lengths = lengths[lengths > 0]
    return Blinks(
        intervals=found,
        rate=len(found) * frame_rate / len(openness),
        duration=float(lengths.mean()) if len(lengths) else float("nan"),
    )


def _peak_plateaus(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns first and last frames of local maxima and plateaus above the middle of the range."""
    padded = np.pad(values, 1, constant_values=-np.inf)  # so that the clip's ends count
    middle = (values.min() + values.max()) / 2
    _, shape = scipy.signal.find_peaks(padded, height=middle, plateau_size=1)
    return shape["left_edges"] - 1, shape["right_edges"] - 1
