"""Gives decoded frames times that rise, where those of the file do not."""

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction

import av

from lipsync_jax.media import packets

_MAX_REPEATED = 4  # frames of one time that wait for a later one, in memory
_MAX_GAP = 10  # seconds; after a longer gap, later frames tell whether the clock was damaged
_MAX_DAMAGED = 4  # frames after such a gap that wait for the clock to come back, in memory


def with_rising_times(
    frames: Iterator[av.VideoFrame],
    zero: Fraction,
    step: Fraction,
    audio_end: Callable[[], Fraction | None],
) -> Iterator[tuple[Fraction, av.VideoFrame]]:
    """Yields frames with their times from `zero`, each later than the one before.

    Frames that repeat a time share the interval up to the next later frame, which keeps its time,
    and so do frames of damaged timestamps far ahead, see `_without_jumps_ahead`. Frames without a
    time, or after a jump back, follow in steps.

    Args:
        frames: in display order.
        zero: the time of the first frame, seconds of the container's clock.
        step: seconds of a frame.
        audio_end: returns the seconds at which the audio ends, on the container's clock; None
            without audio. It is called only for a video that ends after a long gap.
    """
    previous: Fraction | None = None
    repeated: list[av.VideoFrame] = []
    for own, frame in _without_jumps_ahead(frames, audio_end):
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


def _without_jumps_ahead(
    frames: Iterator[av.VideoFrame], audio_end: Callable[[], Fraction | None]
) -> Iterator[tuple[Fraction | None, av.VideoFrame]]:
    """Yields frames with their own times; damaged times become that of the frame before.

    Up to `_MAX_DAMAGED` frames more than `_MAX_GAP` seconds after their predecessor have damaged
    times if the clock then comes back, or if they end the video long after the audio and after
    what the duration of their predecessor allows. Otherwise the gap is real: screen recordings
    have no frames while nothing moves.
    """
    timed = ((packets.frame_time(frame), frame) for frame in frames)
    previous: Fraction | None = None
    previous_end = Fraction(0)  # of the frame before, by its packet's duration
    for time, frame in timed:
        far = [(time, frame)]
        if time is not None and previous is not None and time - previous > _MAX_GAP:
            back = None  # the first frame after the clock has come back
            for later in itertools.islice(timed, _MAX_DAMAGED):
                if later[0] is not None and time - later[0] > _MAX_GAP:
                    back = later
                    break
                far.append(later)
            ended = back is None and len(far) <= _MAX_DAMAGED
            if back is not None or (ended and _ends_before(time, previous_end, audio_end())):
                far = [(previous, frame) for _, frame in far] + ([back] if back else [])
        for time, frame in far:
            yield time, frame
            if time is not None:
                tick = packets.rational(frame.time_base) or 0
                previous, previous_end = time, time + (frame.duration or 0) * tick


def _ends_before(time: Fraction, frame_end: Fraction, audio_end: Fraction | None) -> bool:
    return audio_end is not None and time - max(frame_end, audio_end) > _MAX_GAP
