"""What is done to decoded frames: combs, sizes, transparency and colours."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from lipsync_jax.media import image_files, video_reader
from tests.helpers import media_files


def encode(path, images, codec="libx264", pix_fmt="yuv420p", options=None, mode="w", **context):
    """Writes RGB or RGBA images at 25 a second by PyAV alone."""
    with av.open(str(path), mode) as container:
        stream = container.add_stream(codec, rate=25, options=options or {"crf": "4"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        for index, image in enumerate(images):
            kind = "rgba" if image.shape[-1] == 4 else "rgb24"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), kind)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def bar(left, height=96, width=128):
    image = np.full((height, width, 3), 60, np.uint8)
    image[:, left : left + 24] = 200
    return image


def woven(number):
    """A field of one moment and one of the next, as cameras record a bar that moves."""
    image = bar(4 + 6 * number)
    image[1::2] = bar(7 + 6 * number)[1::2]
    return image


def comb(image):
    """How much each line differs from both of its neighbours."""
    rows = image[..., 0].astype(int)
    return np.abs(2 * rows[1:-1] - rows[:-2] - rows[2:]).mean()


@pytest.fixture(scope="module")
def interlaced(tmp_path_factory):
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1:keyint=5", "crf": "4"}
    path = tmp_path_factory.mktemp("interlaced") / "a.mp4"
    return encode(path, [woven(i) for i in range(15)], options=options)


def test_interlaced_frames_lose_their_combs(interlaced):
    assert video_reader.probe(interlaced).interlaced
    frames = list(video_reader.read_frames(interlaced))
    assert [frame.time for frame in frames] == media_files.uniform_times(15)
    for number, frame in enumerate(frames[1:-1], 1):
        assert comb(woven(number)) > 9 > 1 > comb(frame.image)
        lost = np.abs(frame.image.astype(int) - woven(number)).mean(axis=(1, 2))
        assert min(lost[::2].mean(), lost[1::2].mean()) < 2  # one field stays as it was


@pytest.mark.parametrize("first", [4, 5, 7, 10])
def test_interlaced_frames_are_the_same_after_a_seek(interlaced, first):
    frames = list(video_reader.read_frames(interlaced))
    later = list(video_reader.read_frames(interlaced, Fraction(first, 25)))
    assert [frame.time for frame in later] == [frame.time for frame in frames[first:]]
    for a, b in zip(later, frames[first:], strict=True):
        np.testing.assert_array_equal(a.image, b.image)


def test_progressive_frames_are_left_alone(tmp_path):
    path = encode(
        tmp_path / "a.mkv", [woven(i) for i in range(4)], "libx264rgb", "rgb24", {"qp": "0"}
    )
    assert not video_reader.probe(path).interlaced
    for number, frame in enumerate(video_reader.read_frames(path)):
        np.testing.assert_array_equal(frame.image, woven(number))


def test_a_change_of_size_is_letterboxed(tmp_path):
    square = np.full((64, 64, 3), 200, np.uint8)
    upright = np.full((64, 32, 3), 120, np.uint8)
    flat = np.full((96, 192, 3), 160, np.uint8)
    parts = []
    for number, image in enumerate((square, upright, flat)):
        part = encode(tmp_path / f"{number}.ts", [image] * 5, "mpeg2video", options={"q": "2"})
        parts.append(part.read_bytes())
    (tmp_path / "a.ts").write_bytes(b"".join(parts))
    frames = list(video_reader.read_frames(tmp_path / "a.ts"))
    assert {frame.image.shape for frame in frames} == {(64, 64, 3)}
    assert np.abs(frames[0].image.astype(int) - 200).max() < 12
    middle, last = frames[7].image, frames[-1].image
    assert not middle[:, :16].any() and not middle[:, 48:].any()
    assert np.abs(middle[:, 18:46].astype(int) - 120).max() < 12
    assert not last[:16].any() and not last[48:].any()
    assert np.abs(last[18:46].astype(int) - 160).max() < 12


@pytest.mark.parametrize(("codec", "pix_fmt"), [("qtrle", "argb"), ("prores_ks", "yuva444p10le")])
def test_transparent_video_shows_a_plain_ground(tmp_path, codec, pix_fmt):
    image = np.dstack([media_files.quadrants(), np.full((48, 64), 255, np.uint8)])
    image[:, 48:] = (9, 80, 200, 0)
    path = encode(tmp_path / "a.mov", [image] * 2, codec, pix_fmt, {})
    for frame in video_reader.read_frames(path):
        assert (frame.image[:, 50:] == image_files.BACKGROUND).all()
        inside = frame.image[4:20, 4:28].astype(int)
        assert np.abs(inside - media_files.quadrants()[4:20, 4:28]).max() < 8


COLOURS = np.array([[200, 40, 40], [40, 180, 60], [50, 60, 210], [220, 180, 150]], np.uint8)


def stripes(rows):
    return np.repeat(np.repeat(COLOURS[None], 16, 1), rows, 0)


@pytest.mark.parametrize("rows", [96, 720])
@pytest.mark.parametrize("tags", [(2, 2, 2), (6, 6, 6), (1, 1, 1)])
def test_colours_come_out_with_the_hue_and_the_tags_they_had(tmp_path, rows, tags):
    """Untagged colours are stored unchanged."""
    with video_reader.VideoWriter(
        tmp_path / "a.mp4", 25, (64, rows), crf=2, colours=tags
    ) as writer:
        writer.write(stripes(rows))
    info = video_reader.probe(tmp_path / "a.mp4")
    assert info.colours == tags
    image = next(video_reader.read_frames(tmp_path / "a.mp4")).image
    centres = image[rows // 2, [8, 24, 40, 56]].astype(int)
    assert np.abs(centres - COLOURS).max() <= 4
    with video_reader.VideoWriter(
        tmp_path / "b.mp4", 25, (64, rows), crf=2, colours=tags
    ) as writer:
        writer.write(image)
    stored = [_stored(tmp_path / name) for name in ("a.mp4", "b.mp4")]
    assert np.abs(stored[0] - stored[1]).max() <= 3


def test_an_untagged_small_video_is_bt601_and_a_large_one_bt709(tmp_path):
    for rows, matrix in ((96, "bt601"), (720, "bt709")):
        path = tmp_path / f"{rows}.mp4"
        with video_reader.VideoWriter(path, 25, (64, rows), crf=2, colours=(2, 2, 2)) as writer:
            writer.write(stripes(rows))
        red, green, blue = {"bt601": (0.299, 0.587, 0.114), "bt709": (0.2126, 0.7152, 0.0722)}[
            matrix
        ]
        luma = 16 + 219 / 255 * (COLOURS @ np.array([red, green, blue]))
        assert np.abs(_stored(path)[rows // 2, [8, 24, 40, 56]] - luma).max() <= 2


def _stored(path):
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    return cv2.split(frame.to_ndarray()[: frame.height, : frame.width])[0].astype(int)
