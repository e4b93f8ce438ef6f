from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from lipsync_jax import faces
from lipsync_jax.media import planar, video_reader
from lipsync_jax.media.planar import PlanarImage
from lipsync_jax.synthesis import blending

SIZE = (64, 48)


def smooth_image(seed=0, size=SIZE):
    """Returns an image without sharp edges of chroma, which 4:2:0 can hold."""
    y, x = np.mgrid[: size[1], : size[0]] / 24
    phases = np.random.default_rng(seed).uniform(0, 6, 3)
    return np.stack([127 + 90 * np.sin(x + y * p + p) for p in phases], -1).astype(np.uint8)


def write(path, images, size=SIZE, **options):
    with video_reader.VideoWriter(path, 25, size, crf=1, **options) as writer:
        for image in images:
            writer.write(image)
    return path


def read(path, planes=True):
    return [frame.image for frame in video_reader.read_frames(path, planes=planes)]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("planar") / "video.mp4"
    return write(path, [smooth_image(i) for i in range(3)], colours=(1, 1, 1))


@pytest.mark.parametrize("matrix", sorted(planar.MATRICES))
def test_matrices_agree_with_ffmpeg(matrix, tmp_path):
    path = write(tmp_path / "v.mp4", [smooth_image()], colours=(1, 1, matrix))
    (image,), (expected,) = read(path), read(path, planes=False)
    assert isinstance(image, PlanarImage) and image.matrix in (matrix, 6)
    difference = np.abs(image.rgb().astype(int) - expected)
    assert difference.mean() < 0.6 and difference.max() <= 3


def test_planes_and_rgb_are_resized_and_cropped_alike(video):
    image, rgb = read(video)[1], read(video, planes=False)[1]
    box = np.array([9.3, -4.1, 44.8, 33.6])
    for size in (16, 80):
        difference = faces.crop(image, box, size).astype(int) - faces.crop(rgb, box, size)
        assert np.abs(difference).mean() < 1
    small = image.resized((16, 12))
    assert np.abs(small - rgb.reshape(12, 4, 16, 4, 3).mean((1, 3))).mean() < 2


@pytest.mark.parametrize("corner", [(10, 8), (11, 9), (0, 0), (41, 30), (50, 40), (-6, -7)])
def test_a_blend_changes_only_what_its_mask_covers(video, corner):
    left, top = corner
    image, other = read(video)[:2]
    before = [plane.copy() for plane in image.planes]
    mask = np.zeros((18, 23), np.float32)
    mask[3:-2, 4:-5] = 1
    box = np.array([left, top, left + 23, top + 18])
    patch = faces.crop(other.rgb(), box, (18, 23)).astype(np.float32)
    blended = blending.blend(image, patch, mask, box)
    for old, same in zip(before, image.planes, strict=True):
        np.testing.assert_array_equal(old, same)  # the given frame is not modified
    inside = np.zeros(SIZE[::-1], bool)
    inside[max(0, top + 3) : top + 16, max(0, left + 4) : left + 18] = True
    chroma = cv2.dilate(inside.reshape(24, 2, 32, 2).any((1, 3)).astype(np.uint8), np.ones((3, 3)))
    for old, new, covered in zip(before, blended.planes, (inside, chroma, chroma), strict=True):
        np.testing.assert_array_equal(new[covered == 0], old[covered == 0])
    core = cv2.erode(inside.astype(np.uint8), np.ones((5, 5)), borderValue=1) == 1
    difference = blended.rgb()[core].astype(int) - other.rgb()[core]
    assert np.abs(difference).mean() < 2.5  # repeated values beyond the border blur chroma


def test_frames_reach_the_encoder_bit_for_bit(video, tmp_path):
    images = read(video)
    # Of lossless x264, whose only loss is that of conversions before it.
    with video_reader.VideoWriter(
        tmp_path / "copy.mp4", 25, SIZE, crf=0, preset="ultrafast", colours=(1, 1, 1)
    ) as writer:
        for number in (0, 1, 1, 2):  # a frame may be shown twice
            writer.write(images[number])
    copies = read(tmp_path / "copy.mp4")
    for number, copy in zip((0, 1, 1, 2), copies, strict=True):
        for old, new in zip(images[number].planes, copy.planes, strict=True):
            np.testing.assert_array_equal(old, new)


def test_frames_do_not_outlive_their_images(video):
    (image, *_) = read(video)
    for plane in image.planes:  # of its own, not in a decoded frame, which is in a reference cycle
        assert plane.base is None


def test_planes_of_another_matrix_are_converted(video, tmp_path):
    image = read(video)[0]
    assert image.matrix == 1
    with video_reader.VideoWriter(tmp_path / "v.mp4", 25, SIZE, crf=1, colours=(2, 2, 6)) as writer:
        writer.write(image)
    (copy,) = read(tmp_path / "v.mp4", planes=False)
    assert np.abs(copy.astype(int) - image.rgb()).mean() < 2


def test_frames_that_need_a_change_are_converted(tmp_path):
    odd = write(tmp_path / "odd.mkv", [smooth_image(size=(63, 47))], (63, 47), lossless=True)
    assert isinstance(read(odd)[0], np.ndarray)
    turned = tmp_path / "turned.mp4"
    with av.open(str(turned), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.set_display_rotation(90)
        frame = av.VideoFrame.from_ndarray(smooth_image(), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert read(turned)[0].shape == (64, 48, 3) and isinstance(read(turned)[0], np.ndarray)
    full = tmp_path / "full.mkv"
    with av.open(str(full), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.color_range = 2
        frame = av.VideoFrame.from_ndarray(smooth_image(), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert isinstance(read(full)[0], np.ndarray)


def test_a_writer_refuses_planes_of_another_size(video, tmp_path):
    with (
        pytest.raises(ValueError, match=r"frame 0 is .*\(48, 64, 3\), not uint8 \(48, 66, 3\)"),
        video_reader.VideoWriter(tmp_path / "v.mp4", Fraction(25), (66, 48)) as writer,
    ):
        writer.write(read(video)[0])
