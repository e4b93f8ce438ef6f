"""Which frame of a face video the output shows when."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

from lipsync_jax.media import frame_source, timeline
from lipsync_jax.media.frame_source import FrameSource

# Index of a frame of the face video, seconds at which the output shows the frame.
ScheduledFrame = tuple[int, Fraction]


def schedule_frames(
    video: FrameSource,
    times: Sequence[Fraction],
    length: Callable[[Fraction], Fraction],
    loop: str,
) -> Iterator[ScheduledFrame]:
    """Yields the frames of the output, until the audio ends.

    Args:
        video: the face video.
        times: seconds at which its frames are shown.
        length: of the audio, see `timeline.schedule`.
        loop: see `timeline.loop_indices`.
    """
    even = frame_source.snap_times(times, video.frame_rate)
    numbers, moments = timeline.fill_gaps(even, video.frame_rate, video.output_rate)
    for i, moment in timeline.schedule(moments, 1 / video.output_rate, length, loop):
        yield numbers[i], moment
