from fractions import Fraction

import numpy as np
import pytest

from lipsync_jax.media import frame_source, video_reader
from tests.helpers import media_files

RATE = Fraction(30000, 1001)


def open_grey(path, times):
    media_files.write_media(path, times)
    shown = frame_source.open_frame_source(path)
    frames = list(shown.frames())
    return shown, [f.time for f in frames], [f.image for f in frames]


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
def test_any_order_gives_the_frames_of_a_plain_reading(tmp_path, suffix):
    shown, times, images = open_grey(tmp_path / f"a.{suffix}", media_files.uniform_times(40))
    reader = frame_source.FrameReader(shown, times, buffer_bytes=5 * images[0].nbytes)
    order = [*range(40), *range(38, -1, -1), 1, 2, 3, 20, 20, 19, 39, 0]
    for number in order:
        np.testing.assert_array_equal(reader[number], images[number])
    reader.close()


def test_a_file_whose_clock_misleads_is_read_from_its_start(tmp_path):
    shown, times, images = open_grey(tmp_path / "a.mp4", media_files.uniform_times(12))

    class Misleading:
        size = shown.size

        def frames(self, start=None, planes=False):
            for frame in shown.frames(start):
                yield frame if start is None else frame._replace(time=frame.time + 1)

    reader = frame_source.FrameReader(Misleading(), times, buffer_bytes=3 * images[0].nbytes)
    for number in (11, 4, 3, 9):
        np.testing.assert_array_equal(reader[number], images[number])


def test_a_file_that_has_changed_is_an_error(tmp_path):
    shown, times, _ = open_grey(tmp_path / "a.mp4", media_files.uniform_times(4))
    media_files.write_media(tmp_path / "a.mp4", media_files.uniform_times(3))
    with pytest.raises(ValueError, match=r"a\.mp4 changed while"):
        frame_source.FrameReader(shown, times)[3]


@pytest.mark.parametrize(("name", "count", "still"), [("a.h264", 3, False), ("a.h264", 1, True)])
def test_files_without_a_header_are_counted(tmp_path, name, count, still):
    media_files.write_media(tmp_path / name, media_files.uniform_times(count))
    assert frame_source.open_frame_source(tmp_path / name).single_frame == still


@pytest.mark.parametrize("suffix", ["png", "JPG", "bmp", "webp"])
def test_images(tmp_path, suffix):
    video_reader.write_image(tmp_path / f"a.{suffix}", media_files.quadrants())
    shown = frame_source.open_frame_source(tmp_path / f"a.{suffix}", frame_rate=Fraction(30))
    assert shown.single_frame and shown.frame_rate == 30 and shown.size == (64, 48)


def test_the_rounding_of_millisecond_clocks_is_undone():
    exact = media_files.uniform_times(50, RATE)
    rounded = [Fraction(round(1000 * t), 1000) for t in exact]
    assert frame_source.snap_times(rounded, RATE) == tuple(exact)
    uneven = [*exact[:10], *(t + Fraction(1, 100) for t in exact[10:])]
    assert frame_source.snap_times(uneven, RATE) == tuple(uneven)
