import itertools
from fractions import Fraction

import pytest

from lipsync_jax.faces import trajectory
from lipsync_jax.media import timeline


@pytest.mark.parametrize(
    ("loop", "expected"),
    [
        ("ping-pong", [0, 1, 2, 1, 0, 1, 2, 1]),
        ("repeat", [0, 1, 2, 0, 1, 2, 0, 1]),
        ("hold", [0, 1, 2, 2, 2, 2, 2, 2]),
        ("none", [0, 1, 2]),
    ],
)
def test_order(loop, expected):
    frames = itertools.chain.from_iterable(timeline.loop_indices(3, loop))
    assert list(itertools.islice(frames, 8)) == expected


@pytest.mark.parametrize("loop", ["ping-pong", "repeat", "hold"])
@pytest.mark.parametrize("count", [1, 2, 7, 30])
@pytest.mark.parametrize("seconds", ["0.01", "0.5", "1", "1.001", "3.3"])
def test_the_video_ends_within_a_frame_of_the_audio(loop, count, seconds):
    step, duration = Fraction(1001, 24000), Fraction(seconds)
    times = [i * step for i in range(count)]
    shown = list(timeline.schedule(times, step, lambda _: duration, loop))
    assert [t for _, t in shown] == [i * step for i in range(len(shown))]
    assert abs(len(shown) * step - duration) < step


def test_uneven_frames_keep_their_lengths_when_played_again():
    times = [Fraction(0), Fraction(1), Fraction(3)]
    shown = list(timeline.schedule(times, Fraction(1, 2), lambda _: Fraction(6), "repeat"))
    starts = [0, 1, 3, Fraction(7, 2), Fraction(9, 2)]
    assert shown == list(zip([0, 1, 2, 0, 1], starts, strict=True))


def test_long_gaps_are_filled_at_the_usual_rate():
    step = Fraction(1, 25)
    times = [Fraction(0), step, 3 * step, 8 * step, 9 * step]
    numbers, shown = timeline.fill_gaps(times, Fraction(25), Fraction(25))
    assert numbers == [0, 1, 2, 2, 2, 2, 2, 3, 4]
    assert shown == [i * step for i in (0, 1, 3, 4, 5, 6, 7, 8, 9)]


@pytest.mark.parametrize("rate", [1, 2, 3, 5, 8, Fraction(9), 10, 11, 12, 25])
def test_no_frame_of_a_slow_video_stands_longer_than_lips_may(rate):
    rate = Fraction(rate)
    times = [i / rate for i in range(4)]
    numbers, shown = timeline.fill_gaps(times, rate, timeline.output_rate(rate))
    last = 1 / timeline.output_rate(rate)
    lengths = [b - a for a, b in itertools.pairwise([*shown, shown[-1] + last])]
    assert max(lengths) <= timeline.MAX_FRAME_DURATION
    assert sorted(set(numbers)) == [0, 1, 2, 3]
    assert abs(sum(lengths) - 4 / rate) <= Fraction(1, 100)
    assert rate < 10 or (numbers, shown) == ([0, 1, 2, 3], times)


def test_spans():
    times = [Fraction(i) for i in range(6)]
    flags = [True, True, False, True, False, True]
    assert trajectory.intervals(times, Fraction(6), flags) == [(0, 2), (3, 4), (5, 6)]
