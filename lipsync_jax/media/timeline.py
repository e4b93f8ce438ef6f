"""Schedules the frames of the face video until the audio ends, in exact seconds."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

MAX_FRAME_DURATION = Fraction(1, 10)  # seconds; longer frames are repeated with new lips
_DEFAULT_RATE = Fraction(25)  # output rate for videos with longer frames
LOOPS = ("ping-pong", "repeat", "hold", "none")


def loop_indices(count: int, loop: str) -> Iterator[range]:
    """Yields frame numbers in display order, as ranges of consecutive frames.

    Args:
        count: frames of the face video, at least 1.
        loop: after the last frame: `ping-pong` (backwards and forwards, without repeating the
            frames at the ends), `repeat` (from the start), `hold` (the last frame), `none`.

    Yields:
        The whole video first; then, except for `none`, endless further ranges.
    """
    yield range(count)
    if loop == "repeat":
        yield from itertools.repeat(range(count))
    elif loop == "hold" or (loop == "ping-pong" and count == 1):
        yield from itertools.repeat(range(count - 1, count))
    elif loop == "ping-pong":
        yield from itertools.cycle((range(count - 2, -1, -1), range(1, count)))


def output_rate(frame_rate: Fraction) -> Fraction:
    """Returns the output frame rate: the video's own, or 25 if frames would be too long."""
    return frame_rate if 1 / frame_rate <= MAX_FRAME_DURATION else _DEFAULT_RATE


def fill_gaps(
    times: Sequence[Fraction], frame_rate: Fraction, rate: Fraction
) -> tuple[list[int], list[Fraction]]:
    """Repeats frames in gaps of a video, so that lips continue to move.

    Args:
        times: of the frames, ascending.
        frame_rate: of the video; its last frame lasts 1 / frame_rate seconds.
        rate: frames a second of repeated frames.

    Returns:
        Frame numbers and their display times; no frame lasts longer than `MAX_FRAME_DURATION` or,
        if that is more, 1 / rate seconds; the last frame lasts 1 / rate.
    """
    numbers, display_times, max_duration = [], [], max(MAX_FRAME_DURATION, 1 / rate)
    ends = [*times[1:], times[-1] + 1 / frame_rate]
    for number, (start, end) in enumerate(zip(times, ends, strict=True)):
        length = end - start
        if length <= max_duration:
            numbers.append(number)
            display_times.append(start)  # the same object, since long videos have many
            continue
        count = max(round(length * rate), math.ceil(length / max_duration))
        numbers += [number] * count
        display_times += [start + i * length / count for i in range(count)]
    return numbers, display_times


def schedule(
    times: Sequence[Fraction],
    last_duration: Fraction,
    audio_length: Callable[[Fraction], Fraction],
    loop: str,
) -> Iterator[tuple[int, Fraction]]:
    """Yields frame numbers with their display times.

    A looped or cut video lasts as long as the audio, to less than one frame; a video that is less
    than one frame shorter than the audio is unchanged. With `none` the video is never looped or
    cut.

    Args:
        times: of the frames of the face video, ascending, the first at 0.
        last_duration: seconds of its last frame.
        audio_length: returns the seconds of the audio; while streamed audio continues, the function
            may return any time greater than its argument, see `driving_audio`.
        loop: see `loop_indices`.

    Yields:
        (frame number, seconds).
    """
    ends, time = [*times[1:], times[-1] + last_duration], Fraction(0)
    for number, indices in enumerate(loop_indices(len(times), loop)):
        if number and audio_length(time + last_duration) - time < last_duration:
            return
        for index in indices:
            if loop != "none" and time >= audio_length(time):  # deviation W11
                return
            yield index, time
            # In the first pass the object of the next frame's time, since long videos have many.
            time = time + ends[index] - times[index] if number else ends[index]
