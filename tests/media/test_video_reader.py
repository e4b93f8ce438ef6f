"""Reading and writing videos: exact times and colours, clear errors."""

import warnings
from fractions import Fraction

import av
import numpy as np
import pytest

from lipsync_jax.media import audio, video_reader
from tests.helpers import media_files

SIZE = (media_files.WIDTH, media_files.HEIGHT)
RATES = [
    Fraction(25),
    Fraction(24_000, 1001),
    Fraction(30_000, 1001),
    Fraction(60_000, 1001),
    Fraction(1, 2),
    Fraction(1_234_567, 41_234),
]


def write(path, count=12, rate=25, **options):
    with video_reader.VideoWriter(path, rate, SIZE, preset="ultrafast", **options) as writer:
        for index in range(count):
            writer.write(media_files.grey_image(index))
    return path


def numbers(frames):
    """Returns the index of the `media_files.grey_image` in each frame."""
    return [round((float(np.mean(frame.image)) - 10) / 8) for frame in frames]


def only(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.m4v"])
def test_round_trip_keeps_every_frame_and_time(tmp_path, name, rate):
    path = write(tmp_path / "folder" / name, rate=rate)
    frames = list(video_reader.read_frames(path))
    assert [frame.time for frame in frames] == media_files.uniform_times(12, rate)
    assert [frame.index for frame in frames] == numbers(frames) == list(range(12))
    info = video_reader.probe(path)
    assert (info.frame_rate, info.duration, info.frames_estimate) == (rate, 12 / rate, 12)
    assert only(tmp_path / "folder") == [name]


def test_matroska_rounds_times_to_milliseconds(tmp_path):
    path = write(tmp_path / "a.mkv", rate=Fraction(30_000, 1001))
    frames = list(video_reader.read_frames(path))
    assert numbers(frames) == list(range(12))
    for frame in frames:
        assert abs(frame.time - frame.index * Fraction(1001, 30_000)) <= Fraction(1, 1000)
    assert video_reader.probe(path).frame_rate == Fraction(30_000, 1001)


def test_probe_tells_what_is_there(tmp_path):
    stereo = np.zeros((44_100, 2), np.float32)
    path = media_files.write_media(
        tmp_path / "a.mp4",
        media_files.uniform_times(25, start=2),
        stereo,
        rate=44_100,
        audio_start=2,
    )
    assert video_reader.probe(path) == video_reader.VideoInfo(
        path=path,
        width=64,
        height=48,
        frame_rate=Fraction(25),
        frames_estimate=25,
        duration=video_reader.probe(path).duration,
        rotation=0,
        start_time=Fraction(2),
        pixel_aspect=Fraction(1),
        colours=(2, 2, 2),
        codec="h264",
        has_audio=True,
        audio_rate=44_100,
        audio_channels=2,
    )
    silent = video_reader.probe(write(tmp_path / "b.mp4", pixel_aspect=Fraction(16, 15)))
    assert (silent.has_audio, silent.audio_rate, silent.audio_channels) == (False, 0, 0)
    assert silent.pixel_aspect == Fraction(16, 15)


def test_colours_come_back(tmp_path):
    with video_reader.VideoWriter(tmp_path / "a.mp4", 25, SIZE, crf=4) as writer:
        writer.write(media_files.quadrants())
    image = next(video_reader.read_frames(tmp_path / "a.mp4")).image
    inside = np.ones((48, 64), bool)
    inside[22:26] = inside[:, 29:35] = False  # 4:2:0 colour blurs the edges
    assert np.abs(image.astype(int) - media_files.quadrants())[inside].max() <= 3


@pytest.mark.parametrize("colours", [(9, 18, 9), (9, 16, 9), (5, 6, 5), (2, 2, 2)])
def test_colour_tags_are_kept(tmp_path, colours):
    plain = write(tmp_path / "a.mp4", crf=4)
    kept = write(tmp_path / "b.mp4", crf=4, colours=colours)
    assert video_reader.probe(kept).colours == colours
    for before, after in zip(
        video_reader.read_frames(plain), video_reader.read_frames(kept), strict=True
    ):
        np.testing.assert_array_equal(before.image, after.image)


@pytest.mark.parametrize("value", [0, 1, 64, 128, 200, 255])
def test_grey_is_not_brightened(tmp_path, value):
    image = np.full((48, 64, 3), value, np.uint8)
    with video_reader.VideoWriter(
        tmp_path / "a.mp4", 25, SIZE, crf=1, preset="ultrafast"
    ) as writer:
        writer.write(image)
    back = next(video_reader.read_frames(tmp_path / "a.mp4")).image
    assert np.abs(back.astype(int) - image).max() <= 1


def test_lossless_is_exact_in_odd_sizes_too(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 33, 47, 3), dtype=np.uint8)
    with video_reader.VideoWriter(tmp_path / "a.mkv", 25, (47, 33), lossless=True) as writer:
        for image in images:
            writer.write(image)
    frames = [frame.image for frame in video_reader.read_frames(tmp_path / "a.mkv")]
    np.testing.assert_array_equal(frames, images)


def test_odd_sizes_repeat_the_last_column_and_row(tmp_path):
    image = np.full((33, 47, 3), 60, np.uint8)
    image[-1] = image[:, -1] = 180
    with video_reader.VideoWriter(tmp_path / "a.mp4", 25, (47, 33), crf=1) as writer:
        writer.write(image)
    back = next(video_reader.read_frames(tmp_path / "a.mp4")).image
    assert back.shape == (34, 48, 3)
    expected = np.pad(image, ((0, 1), (0, 1), (0, 0)), mode="edge")
    assert np.abs(back.astype(int) - expected).max() <= 3


UNEVEN = [Fraction(0), Fraction(1, 30), Fraction(1, 10), Fraction(11, 90), Fraction(1, 2)]


def test_uneven_times_are_kept(tmp_path):
    with video_reader.VideoWriter(tmp_path / "a.mp4", 30, SIZE) as writer:
        for index, time in enumerate(UNEVEN):
            writer.write(media_files.grey_image(index), time)
    frames = list(video_reader.read_frames(tmp_path / "a.mp4"))
    assert [frame.time for frame in frames] == UNEVEN
    assert numbers(frames) == list(range(5))
    assert video_reader.probe(tmp_path / "a.mp4").duration == Fraction(1, 2) + Fraction(1, 30)


def test_uneven_times_of_others_are_read(tmp_path):
    for name in ("a.mp4", "a.mkv"):
        frames = list(video_reader.read_frames(media_files.write_media(tmp_path / name, UNEVEN)))
        assert numbers(frames) == list(range(5))
        for frame, time in zip(frames, UNEVEN, strict=True):
            assert abs(frame.time - time) <= (Fraction(1, 1000) if name == "a.mkv" else 0)


def write_frames_at(path, times):
    """Writes grey frames of at least these milliseconds, which may be equal."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.max_b_frames = 0
        container.start_encoding()
        packets = []
        for index in range(len(times)):
            frame = av.VideoFrame.from_ndarray(media_files.grey_image(index), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            packets += stream.encode(frame)
        for packet, time in zip([*packets, *stream.encode(None)], times, strict=True):
            packet.time_base, packet.pts, packet.dts = Fraction(1, 1000), time, time
            packet.duration = 0
            container.mux(packet)
    return path


def test_frames_that_repeat_a_time_delay_no_other(tmp_path):
    fast, slow = [*range(0, 1000, 33)], [*range(1000, 3000, 200)]
    path = write_frames_at(tmp_path / "a.mkv", [0, 33, 33, 33, *fast[2:], *slow, 2800, 2800])
    times = [1000 * frame.time for frame in video_reader.read_frames(path)]
    assert times[:6] == [0, 33, 44, 55, 66, 99]
    assert times[4:-2] == [*fast[2:], *slow]
    step = 1000 / video_reader.probe(path).frame_rate
    assert times[-2:] == [2800 + step, 2800 + 2 * step]
    later = list(video_reader.read_frames(path, start=Fraction(19, 20)))
    assert [frame.time for frame in later] == [time / 1000 for time in times if time >= 950]


def test_a_clock_that_jumps_back_goes_on_in_steps(tmp_path):
    path = write_frames_at(tmp_path / "a.mkv", [0, 40, 40, 40, 40, 40, 40, 40, 80, 120])
    times = [frame.time for frame in video_reader.read_frames(path)]
    assert len(times) == 10 and times == sorted(set(times))


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_frames_that_repeat_a_time_are_copied(tmp_path, suffix):
    path = write_frames_at(tmp_path / "a.mkv", [0, 40, 40, 80, 120, 160])
    tone = tmp_path / "tone.wav"
    audio.save(tone, media_files.tone(200, 0.2, 16_000), 16_000)
    video_reader.mux(path, tone, tmp_path / f"o.{suffix}")
    frames = list(video_reader.read_frames(tmp_path / f"o.{suffix}"))
    assert [round(1000 * frame.time) for frame in frames] == [0, 40, 41, 80, 120, 160]


def test_constant_rate_takes_the_nearest_frame():
    uneven = [
        video_reader.Frame(time, media_files.grey_image(i), i) for i, time in enumerate(UNEVEN[:4])
    ]
    even = list(video_reader.resample_fps(iter(uneven), 30))
    assert [frame.time for frame in even] == media_files.uniform_times(len(even), 30)
    assert numbers(even) == [0, 1, 1, 2]
    assert list(video_reader.resample_fps(iter([]), 30)) == []
    doubled = video_reader.resample_fps(
        [
            video_reader.Frame(t, media_files.grey_image(0), 0)
            for t in media_files.uniform_times(10)
        ],
        50,
    )
    assert len(list(doubled)) == 20


@pytest.mark.parametrize(
    ("name", "codec", "tick"),
    [
        ("a.avi", "libx264", Fraction(1, 25)),
        ("a.avi", "mpeg4", Fraction(1, 25)),
        ("a.mpg", "mpeg1video", Fraction(1, 25)),
        ("a.mkv", "libx264", media_files.TICK),
        ("a.ts", "libx264", media_files.TICK),
    ],
)
def test_other_containers(tmp_path, name, codec, tick):
    path = media_files.write_media(
        tmp_path / name, media_files.uniform_times(25), codec=codec, tick=tick
    )
    frames = list(video_reader.read_frames(path))
    assert [frame.time for frame in frames] == media_files.uniform_times(25)
    assert numbers(frames) == list(range(25))
    later = list(video_reader.read_frames(path, start=Fraction(17, 25)))
    assert [frame.time for frame in later] == media_files.uniform_times(25)[17:]
    assert [frame.index for frame in later] == list(range(8))
    assert numbers(later) == list(range(17, 25))


def test_start_lies_between_frames(tmp_path):
    path = write(tmp_path / "a.mp4", count=30)
    for start, first in [(Fraction(4, 25), 4), (Fraction(9, 50), 5), (0.1601, 4), (2, None)]:
        assert next(iter(numbers(video_reader.read_frames(path, start))), None) == first


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotation_is_applied(tmp_path, rotation):
    images = [media_files.quadrants()] * 2
    path = media_files.write_media(
        tmp_path / "a.mp4", media_files.uniform_times(2), rotation=rotation, images=images
    )
    expected = np.rot90(media_files.quadrants(), rotation // 90)
    info = video_reader.probe(path)
    assert (info.rotation, info.height, info.width) == (rotation, *expected.shape[:2])
    for frame in video_reader.read_frames(path):
        assert frame.image.shape == expected.shape
        assert np.median(np.abs(frame.image.astype(int) - expected)) <= 2


def test_images_are_videos_of_one_frame(tmp_path):
    video_reader.write_image(tmp_path / "folder" / "a.png", media_files.quadrants())
    (frame,) = video_reader.read_frames(tmp_path / "folder" / "a.png")
    assert (frame.time, frame.index) == (0, 0)
    np.testing.assert_array_equal(frame.image, media_files.quadrants())
    assert video_reader.probe(tmp_path / "folder" / "a.png").width == 64
    with pytest.raises(ValueError, match=r"no image format is called '\.nope'"):
        video_reader.write_image(tmp_path / "a.nope", media_files.quadrants())


def test_contact_sheet():
    frames = np.stack([media_files.grey_image(index) for index in range(5)])
    sheet = video_reader.contact_sheet(frames, 3)
    assert sheet.shape == (96, 192, 3)
    np.testing.assert_array_equal(sheet[48:, 64:128], frames[4])
    assert not sheet[48:, 128:].any()
    with pytest.raises(ValueError, match="at least one"):
        video_reader.contact_sheet(frames[:0], 3)


def test_failure_leaves_what_was_there(tmp_path):
    path = write(tmp_path / "a.mp4", count=3)
    before = path.read_bytes()
    with (
        pytest.raises(KeyboardInterrupt),
        video_reader.VideoWriter(path, 25, SIZE) as writer,
    ):
        writer.write(media_files.grey_image(0))
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert only(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.gif", {}, "written as one of .mp4"),
        ("a.mp4", {"codec": "nonsense"}, "cannot be written there"),
        ("a.mp4", {"preset": "nonsense"}, "check size, codec, crf and preset"),
        ("a.mp4", {"codec": "mpeg4"}, r"settings \(Invalid argument\); .* or use libx264"),
        ("a.mp4", {"audio": "none.wav"}, "does not exist"),
    ],
)
def test_bad_settings_are_refused_before_the_first_frame(tmp_path, name, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        video_reader.VideoWriter(tmp_path / name, 25, SIZE, **options)
    assert only(tmp_path) == []


def test_bad_frames_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no frame was written"):
        write(tmp_path / "a.mp4", count=0)
    with pytest.raises(ValueError, match="is no video"):
        video_reader.VideoWriter(tmp_path / "a.mp4", 25, (0, 48))
    with (
        pytest.raises(ValueError, match=r"frame 1 is uint8 \(48, 65, 3\), not"),
        video_reader.VideoWriter(tmp_path / "a.mp4", 25, SIZE) as writer,
    ):
        writer.write(media_files.grey_image(0))
        writer.write(np.zeros((48, 65, 3), np.uint8))
    with (
        pytest.raises(ValueError, match=r"frame 1 at 0\.040000 s is not later"),
        video_reader.VideoWriter(tmp_path / "a.mp4", 25, SIZE) as writer,
    ):
        writer.write(media_files.grey_image(0), Fraction(1, 25))
        writer.write(media_files.grey_image(1))
    assert only(tmp_path) == []


def test_tags_are_written(tmp_path):
    tags = {"title": "A voice", "comment": "made from a photograph", "method": "ours"}
    for name in ("a.mp4", "a.mkv"):
        with av.open(str(write(tmp_path / name, metadata=tags))) as container:
            found = {key.lower(): text for key, text in container.metadata.items()}
        assert tags.items() <= found.items()


def test_files_without_video_are_refused(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video\n" * 20)
    media_files.write_media(
        tmp_path / "sound.wav", (), np.zeros(800, np.float32), audio_codec="pcm_s16le"
    )
    whole = write(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "head.mp4").write_bytes(whole[: whole.index(b"mdat") + 4])  # no frame
    moved = media_files.write_media(
        tmp_path / "moved.mp4", media_files.uniform_times(12)
    ).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(moved[: len(moved) // 2])  # its index was at the end
    for name, error, message in [
        ("none.mp4", FileNotFoundError, "does not exist; check the path"),
        ("empty.mp4", ValueError, "is empty"),
        ("text.mp4", ValueError, "cannot be read as audio or video"),
        ("sound.wav", ValueError, "has no video stream"),
        ("cut.mp4", ValueError, "cannot be read as audio or video"),
        ("", ValueError, "is a folder"),
    ]:
        for look in (video_reader.probe, video_reader.read_frames):
            with pytest.raises(error, match=message) as caught:
                look(tmp_path / name)
            assert str(tmp_path / name) in str(caught.value)
            assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="can be decoded"):
        list(video_reader.read_frames(tmp_path / "head.mp4"))


def test_a_file_cut_short_gives_what_it_has(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 48, 64, 3), dtype=np.uint8)
    with video_reader.VideoWriter(tmp_path / "a.mp4", 25, SIZE) as writer:
        for image in images:
            writer.write(image)
    whole = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frames = list(video_reader.read_frames(tmp_path / "cut.mp4"))
    assert 5 < len(frames) < 20
    assert [frame.time for frame in frames] == media_files.uniform_times(len(frames))
    assert len(caught) <= 1
    assert all("damaged video packets were skipped" in str(one.message) for one in caught)
