"""Gives decoded frames times that rise, where those of the file do not."""

from collections.abc import Iterator
from fractions import Fraction

import av

from lipsync_jax.media import packets

_MAX_REPEATED = 4  # frames of one time that wait for a later one, in memory


def with_rising_times(
    frames: Iterator[av.VideoFrame], zero: Fraction, step: Fraction
) -> Iterator[tuple[Fraction, av.VideoFrame]]:
    """Yields frames with their times from `zero`, each later than the one before.

    Frames that repeat a time share the interval up to the next later frame, which keeps its time.
    Frames without a time, or after a jump back, follow in steps.

    Args:
        frames: in display order.
        zero: the time of the first frame, seconds of the container's clock.
        step: seconds of a frame.
    """
    previous: Fraction | None = None
    repeated: list[av.VideoFrame] = []
    for frame in frames:
        own = packets.frame_time(frame)
        time = None if own is None else own - zero
        if previous is None:
            previous = time if time is not None else Fraction(0)
            yield previous, frame
            continue
        is_later = time is not None and time > previous
        if time is not None and not is_later and previous - time < step:
            repeated.append(frame)
            if len(repeated) <= _MAX_REPEATED:
                continue
            frame = repeated.pop()
        interval = (time - previous) / (len(repeated) + 1) if is_later else step
        for waiting in [*repeated, frame]:
            previous += interval
            yield previous, waiting
        repeated.clear()
    for waiting in repeated:
        previous += step
        yield previous, waiting
