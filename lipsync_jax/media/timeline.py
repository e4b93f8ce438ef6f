"""When each frame of the face video is shown, until the voice ends. Exact seconds throughout."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

LONGEST = Fraction(1, 10)  # seconds for which lips may stand still
_USUAL_RATE = Fraction(25)  # of what is written for a video whose frames stand longer than that
LOOPS = ("ping-pong", "repeat", "hold", "none")


def passes(count: int, loop: str) -> Iterator[range]:
    """Frame numbers in the order they are shown, as runs over consecutive frames.

    Args:
        count: frames of the face video, at least 1.
        loop: what follows its last frame: `ping-pong` (backwards and forwards again, the turning
            frames shown once), `repeat` (from the start), `hold` (the last frame stays), `none`.

    Yields:
        The whole video first, then, endlessly but for `none`, what follows.
    """
    yield range(count)
    if loop == "repeat":
        yield from itertools.repeat(range(count))
    elif loop == "hold" or (loop == "ping-pong" and count == 1):
        yield from itertools.repeat(range(count - 1, count))
    elif loop == "ping-pong":
        yield from itertools.cycle((range(count - 2, -1, -1), range(1, count)))


def output_rate(frame_rate: Fraction) -> Fraction:
    """Frames a second to write for a video: its own, unless lips would stand still."""
    return frame_rate if 1 / frame_rate <= LONGEST else _USUAL_RATE


def fill_gaps(
    times: Sequence[Fraction], frame_rate: Fraction, rate: Fraction
) -> tuple[list[int], list[Fraction]]:
    """Shows frames again where the next one is long in coming, so that lips go on moving.

    Args:
        times: when each frame is shown, ascending.
        frame_rate: of the video; its last frame stands for 1 / frame_rate seconds.
        rate: frames a second to write where they are shown again.

    Returns:
        Frame numbers, and when each is shown, none for longer than `LONGEST` or, if that is more,
        1 / rate seconds; the last for 1 / rate.
    """
    numbers, shown, longest = [], [], max(LONGEST, 1 / rate)
    ends = [*times[1:], times[-1] + 1 / frame_rate]
    for number, (start, end) in enumerate(zip(times, ends, strict=True)):
        length = end - start
        count = max(round(length * rate), math.ceil(length / longest)) if length > longest else 1
        numbers += [number] * count
        shown += [start + i * (end - start) / count for i in range(count)]
    return numbers, shown


def schedule(
    times: Sequence[Fraction],
    last: Fraction,
    length: Callable[[Fraction], Fraction],
    loop: str,
) -> Iterator[tuple[int, Fraction]]:
    """Which frame is shown from which moment on.

    A looped or cut video lasts as long as the voice, to less than one frame; if it is less than
    one frame short of the voice, it is left as it is. With `none` it is never looped or cut.

    Args:
        times: when each frame of the face video is shown, ascending, the first at 0.
        last: seconds for which its last frame is shown.
        length: seconds of the voice; given a moment, it may say any greater one while the voice
            goes on, see `speech.Live.length`.
        loop: see `passes`.

    Yields:
        (frame number, seconds).
    """
    lengths = [b - a for a, b in itertools.pairwise(times)] + [last]
    now = Fraction(0)
    for number, indices in enumerate(passes(len(times), loop)):
        if number and length(now + last) - now < last:
            return
        for index in indices:
            if loop != "none" and now >= length(now):
                return
            yield index, now
            now += lengths[index]
