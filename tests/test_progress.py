import math

import pytest

from lipsync_jax import progress


@pytest.fixture
def at(monkeypatch):
    """Sets the time."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, seconds)


def test_a_line_every_ten_seconds_with_the_time_left(at):
    lines = []
    count = progress.EtaLogger("videos", 40, lines.append)
    for second in range(1, 41):
        at(float(second))
        count(second, f"{second} clips")
    assert lines == [
        "10 of 40 videos: 10 clips  ETA 0:30",
        "20 of 40 videos: 20 clips  ETA 0:20",
        "30 of 40 videos: 30 clips  ETA 0:10",
    ]


def test_nothing_done_is_not_known(at):
    assert progress.EtaLogger("clips", 3, print).eta(0) == "?"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (65.4, "1:05"), (7205, "2:00:05"), (math.inf, "?")]
)
def test_clock(seconds, text):
    assert progress.format_duration(seconds) == text


@pytest.mark.parametrize(("rate", "text"), [(0.04, "0.0"), (3.44, "3.4"), (9.96, "10"), (25, "25")])
def test_slow_speeds_have_a_decimal(rate, text):
    assert progress.format_rate(rate) == text
