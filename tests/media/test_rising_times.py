"""Times of frames in files whose clock is damaged."""

from fractions import Fraction

import av
import numpy as np
import pytest

from lipsync_jax.media import video_reader
from tests.helpers import media_files

COUNT = 30
HOUR = 3_600_000  # milliseconds


def write(path, times, audio_seconds=0.0, damaged=True):
    """Writes grey frames of these presentation times in milliseconds, and silent audio.

    Decoding times, of which MP4 makes the frames' durations, are even if the others are damaged.
    """
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"tune": "zerolatency"})
        video.width, video.height, video.pix_fmt = media_files.WIDTH, media_files.HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=16_000, layout="mono") if audio_seconds else None
        container.start_encoding()
        for index, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(media_files.grey_image(index), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            for packet in video.encode(frame):
                packet.time_base, packet.pts = Fraction(1, 1000), time
                packet.dts = 40 * index if damaged else time
                packet.duration = 0
                container.mux(packet)
        if audio:
            samples = np.zeros((round(audio_seconds * 16_000), 1))
            media_files.encode_audio(container, audio, samples, 16_000, 0)
    return path


def milliseconds(path, start=None):
    return [1000 * frame.time for frame in video_reader.read_frames(path, start)]


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize("damaged", [{1}, {12}, {12, 13, 14, 15}, {3, 5}, {COUNT - 2}])
def test_a_clock_that_jumps_ahead_and_comes_back_moves_no_other_frame(tmp_path, suffix, damaged):
    even = [40 * index for index in range(COUNT)]
    jumping = [time + HOUR * (index in damaged) for index, time in enumerate(even)]
    path = write(tmp_path / f"a.{suffix}", jumping)
    assert milliseconds(path) == even
    assert milliseconds(path, Fraction(4, 5)) == even[20:]
    resampled = list(video_reader.resample_fps(video_reader.read_frames(path), 25))
    assert len(resampled) == COUNT


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_last_frame_long_after_the_audio_follows_in_a_step(tmp_path, suffix):
    even = [40 * index for index in range(COUNT)]
    jumping = [*even[:-1], even[-1] + HOUR]
    assert milliseconds(write(tmp_path / f"a.{suffix}", jumping, 1.2)) == even


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize("moving_after", [0, 1, 4, 5])
def test_a_real_gap_keeps_its_length(tmp_path, suffix, moving_after):
    times = [*range(0, 400, 40), *range(60_000, 60_000 + 40 * moving_after + 1, 40)]
    assert milliseconds(write(tmp_path / f"a.{suffix}", times, 59.0, False)) == times
    assert milliseconds(write(tmp_path / f"b.{suffix}", times, 0.0, False)) == times


def test_a_frame_whose_file_gives_it_a_long_duration_keeps_it_without_audio(tmp_path):
    slides = [0, 30_000, 60_000]
    assert milliseconds(write(tmp_path / "a.mp4", slides, 5.0, False)) == slides
