"""How long things take, for people."""

import math


def clock(seconds: float) -> str:
    """Writes a duration as `1:05`, or `2:00:05` from an hour on; `?` if it is not known."""
    if not math.isfinite(seconds):
        return "?"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def speed(per_second: float) -> str:
    """Writes a rate with a decimal below 10: `3.4`, `25`."""
    return f"{per_second:.1f}" if per_second < 9.95 else f"{per_second:.0f}"
