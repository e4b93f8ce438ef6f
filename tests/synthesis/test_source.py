from fractions import Fraction

import numpy as np
import pytest

from lipsync_jax.media import frame_source, video_reader
from tests.helpers import media_files

RATE = Fraction(30000, 1001)


def open_grey(path, times):
    media_files.write(path, times)
    shown = frame_source.open_source(path)
    frames = list(shown.frames())
    return shown, [f.time for f in frames], [f.image for f in frames]


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
def test_any_order_gives_the_frames_of_a_plain_reading(tmp_path, suffix):
    shown, times, images = open_grey(tmp_path / f"a.{suffix}", media_files.even(40))
    player = frame_source.Player(shown, times, memory=5 * images[0].nbytes)
    order = [*range(40), *range(38, -1, -1), 1, 2, 3, 20, 20, 19, 39, 0]
    for number in order:
        np.testing.assert_array_equal(player[number], images[number])
    player.close()


def test_a_file_whose_clock_misleads_is_read_from_its_start(tmp_path):
    shown, times, images = open_grey(tmp_path / "a.mp4", media_files.even(12))

    class Misleading:
        size = shown.size

        def frames(self, start=None):
            for frame in shown.frames(start):
                yield frame if start is None else frame._replace(time=frame.time + 1)

    player = frame_source.Player(Misleading(), times, memory=3 * images[0].nbytes)
    for number in (11, 4, 3, 9):
        np.testing.assert_array_equal(player[number], images[number])


def test_a_file_that_has_changed_is_an_error(tmp_path):
    shown, times, _ = open_grey(tmp_path / "a.mp4", media_files.even(4))
    media_files.write(tmp_path / "a.mp4", media_files.even(3))
    with pytest.raises(ValueError, match=r"a\.mp4 changed while"):
        frame_source.Player(shown, times)[3]


@pytest.mark.parametrize(("name", "count", "still"), [("a.h264", 3, False), ("a.h264", 1, True)])
def test_files_without_a_header_are_counted(tmp_path, name, count, still):
    media_files.write(tmp_path / name, media_files.even(count))
    assert frame_source.open_source(tmp_path / name).still == still


@pytest.mark.parametrize("suffix", ["png", "JPG", "bmp", "webp"])
def test_pictures(tmp_path, suffix):
    video_reader.write_image(tmp_path / f"a.{suffix}", media_files.quadrants())
    shown = frame_source.open_source(tmp_path / f"a.{suffix}", frame_rate=Fraction(30))
    assert shown.still and shown.frame_rate == 30 and shown.size == (64, 48)


def test_the_rounding_of_millisecond_clocks_is_undone():
    exact = media_files.even(50, RATE)
    rounded = [Fraction(round(1000 * t), 1000) for t in exact]
    assert frame_source.even_times(rounded, RATE) == tuple(exact)
    uneven = [*exact[:10], *(t + Fraction(1, 100) for t in exact[10:])]
    assert frame_source.even_times(uneven, RATE) == tuple(uneven)
