"""Exponential averages over the frames of a face, which restart where the face was absent."""

import math

_MAX_PAUSE = 0.5  # seconds without the face after which a temporal average restarts


def past_weight(elapsed: float, time_constant: float) -> float:
    """Returns the weight of a temporal average's past.

    Args:
        elapsed: seconds since the last frame; infinite before the first.
        time_constant: seconds after which the weight of a frame is 1/e.

    Returns:
        Between 0 and 1; 0, so that the average restarts, for a step backwards or one of more than
        half a second.
    """
    return math.exp(-elapsed / time_constant) if 0 <= elapsed <= _MAX_PAUSE else 0.0
