"""LipLeak: how much a mouth moves when it is told to be silent."""

import numpy as np

_UPPER, _LOWER = (61, 62, 63), (67, 66, 65)  # inner lips of the 68-point scheme (iBUG)
_LEFT_EYE, _RIGHT_EYE = 36, 45  # outer corners


def mouth_opening(landmarks: np.ndarray) -> np.ndarray:
    """Mean distance of the inner lips over that of the outer corners of the eyes.

    Args:
        landmarks: (..., 68, 2), the 68-point scheme (iBUG).

    Returns:
        float64 (...), 0 where closed; NaN where landmarks are.
    """
    points = np.asarray(landmarks, np.float64)
    gap = np.linalg.norm(points[..., _UPPER, :] - points[..., _LOWER, :], axis=-1).mean(axis=-1)
    eyes = np.linalg.norm(points[..., _LEFT_EYE, :] - points[..., _RIGHT_EYE, :], axis=-1)
    return gap / eyes


def lipleak(silent: np.ndarray, driven: np.ndarray) -> float:
    """Mouth motion under silent sound over that of the same face driven by speech.

    mean |m(t + 1) − m(t)| of the silent clip, divided by the same of the driven one. 0: the
    generator follows the sound alone; near 1: what moves the mouth is the face it was shown.

    Args:
        silent: (frames,), the mouth's opening (`mouth_opening`) when the sound is digital silence.
        driven: (frames,), when it is speech. Frames with NaN don't count.

    Returns:
        The ratio; NaN where the driven mouth never moves, or nothing was measured.
    """
    still, moving = _motion(silent), _motion(driven)
    return still / moving if moving > 0 else float("nan")


def _motion(opening: np.ndarray) -> float:
    steps = np.abs(np.diff(np.asarray(opening, np.float64)))
    steps = steps[np.isfinite(steps)]
    return float(steps.mean()) if len(steps) else float("nan")
