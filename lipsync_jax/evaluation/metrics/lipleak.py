"""LipLeak: mouth motion of a video generated from silent audio."""

import numpy as np
from jaxtyping import Float, Num

_UPPER, _LOWER = (61, 62, 63), (67, 66, 65)  # inner lips of the 68-point scheme (iBUG)
_LEFT_EYE, _RIGHT_EYE = 36, 45  # outer corners


def mouth_opening(landmarks: Num[np.ndarray, "*n 68 2"]) -> Float[np.ndarray, "*n"]:
    """Computes the mean distance of the inner lips over that of the outer eye corners.

    Args:
        landmarks: (..., 68, 2), the 68-point scheme (iBUG).

    Returns:
        float64 (...), 0 where closed; NaN where landmarks are.
    """
    points = np.asarray(landmarks, np.float64)
    gap = np.linalg.norm(points[..., _UPPER, :] - points[..., _LOWER, :], axis=-1).mean(axis=-1)
    eyes = np.linalg.norm(points[..., _LEFT_EYE, :] - points[..., _RIGHT_EYE, :], axis=-1)
    return gap / eyes


def lipleak(
    silent: Num[np.ndarray, " frames_silent"], driven: Num[np.ndarray, " frames_driven"]
) -> float:
    """Computes mouth motion under silent audio, relative to motion under speech.

    mean |m(t + 1) − m(t)| of the clip driven by silence, divided by that of the clip driven by
    speech. Lower is better. 0: the mouth follows the audio alone; near 1: the mouth follows the
    input face and not the audio.

    Args:
        silent: (frames,), `mouth_opening` of the clip driven by digital silence.
        driven: (frames,), of the clip driven by speech. Frames with NaN are ignored.

    Returns:
        The ratio; NaN where the driven mouth does not move, or no frame has a value.
    """
    silent_motion, driven_motion = _motion(silent), _motion(driven)
    return silent_motion / driven_motion if driven_motion > 0 else float("nan")


def _motion(opening: np.ndarray) -> float:
    steps = np.abs(np.diff(np.asarray(opening, np.float64)))
    steps = steps[np.isfinite(steps)]
    return float(steps.mean()) if len(steps) else float("nan")
