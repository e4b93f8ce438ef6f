"""Image files: oriented, opaque and complete, in the formats of phones and editors."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image, features

from lipsync_jax.media import frame_source, image_files, pixels, video_reader
from tests.helpers import heic

SHAPE = (48, 64)
# How an image is stored that EXIF's orientation 1 to 8 then turns upright.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
AVIF = pytest.param("avif", marks=pytest.mark.skipif(not features.check("avif"), reason="no AVIF"))


def example_image(red=250):
    """Returns a smooth image that differs from itself in every other orientation."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = np.zeros((*SHAPE, 3), np.uint8)
    image[..., 0] = red * (rows < 24) * (columns < 32)
    image[..., 1], image[..., 2] = 4 * rows, 3 * columns
    return image


def only(path):
    (frame,) = video_reader.read_frames(path)
    info = video_reader.probe(path)
    assert (info.height, info.width) == frame.image.shape[:2]
    assert (info.pixel_aspect, info.colours, info.has_audio) == (1, (1, 1, 1), False)
    return frame.image


def exif(orientation):
    tags = Image.Exif()
    tags[0x112] = orientation
    return tags


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", AVIF])
def test_photos_are_oriented(tmp_path, suffix, orientation):
    image = Image.fromarray(example_image())
    how = STORED[orientation]
    image = image if how is None else image.transpose(how)
    lossless = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}
    options = lossless.get(suffix, {"quality": 100} if suffix == "avif" else {})
    image.save(tmp_path / f"a.{suffix}", exif=exif(orientation), **options)
    shown = only(tmp_path / f"a.{suffix}")
    assert shown.shape == (*SHAPE, 3)
    assert np.abs(shown.astype(int) - example_image()).mean() < (
        2 if suffix in ("jpg", "avif") else 0.01
    )


def test_unknown_side_data_is_ignored(tmp_path):
    image = Image.fromarray(example_image()).transpose(STORED[6])
    image.save(tmp_path / "a.jpg", exif=exif(6), quality=100, subsampling=0)
    with av.open(str(tmp_path / "a.jpg")) as container:
        shown = pixels.FrameConverter()(next(container.decode(video=0)))
    assert np.abs(shown.astype(int) - example_image()).mean() < 2


@pytest.mark.parametrize("hidden", ["noise", "black"])
@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tiff", "palette.png", "a.gif"])
def test_transparent_pixels_show_the_background(tmp_path, name, hidden):
    rgb = example_image()
    rgb[:, 40:] = 0 if hidden == "black" else np.random.default_rng(0).integers(0, 256, (48, 24, 3))
    alpha = np.full(SHAPE, 255, np.uint8)
    alpha[:, 40:] = 0
    image = Image.fromarray(np.dstack([rgb, alpha]))
    image = image.quantize() if name == "palette.png" else image
    image.save(tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
    shown = only(tmp_path / name)
    assert (shown[:, 41:] == image_files.BACKGROUND).all()
    loss = np.abs(shown[:, :40].astype(int) - example_image()[:, :40]).mean()
    assert loss < (12 if name in ("palette.png", "a.gif") else 0.01)


def test_half_transparent_pixels_are_blended(tmp_path):
    Image.new("RGBA", (4, 4), (100, 0, 200, 128)).save(tmp_path / "a.png")
    half = [round(c * 128 / 255 + image_files.BACKGROUND * 127 / 255) for c in (100, 0, 200)]
    np.testing.assert_allclose(only(tmp_path / "a.png"), np.broadcast_to(half, (4, 4, 3)), atol=1)


@pytest.mark.parametrize("suffix", ["webp", AVIF, "png", "gif"])
def test_animations_are_videos(tmp_path, suffix):
    frames = [Image.fromarray(example_image(red)) for red in (250, 150, 50)]
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=200)
    shown = list(video_reader.read_frames(path))
    assert [frame.time for frame in shown] == [0, Fraction(1, 5), Fraction(2, 5)]
    for frame, red in zip(shown, (250, 150, 50), strict=True):
        assert abs(int(frame.image[5, 5, 0]) - red) < 20
    later = list(video_reader.read_frames(path, start=Fraction(1, 5)))
    assert [(f.time, f.index) for f in later] == [(Fraction(1, 5), 0), (Fraction(2, 5), 1)]
    opened = frame_source.open_frame_source(path)
    assert not opened.single_frame and opened.frame_rate == 5
    assert video_reader.probe(path).width == 64


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "bmp"])
def test_print_density_is_no_pixel_aspect(tmp_path, suffix):
    Image.fromarray(example_image()).save(tmp_path / f"a.{suffix}", dpi=(72, 144))
    assert only(tmp_path / f"a.{suffix}").shape == (*SHAPE, 3)


def test_every_mode_is_converted_to_rgb(tmp_path):
    image = Image.fromarray(example_image())
    grey = np.asarray(image.convert("L"))
    for name, saved in {
        "grey.jpg": image.convert("L"),
        "la.png": image.convert("LA"),
        "cmyk.tiff": image.convert("CMYK"),
        "bits.png": image.convert("1"),
        "deep.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "deep.tiff": Image.fromarray(grey.astype(np.uint16) * 257),
        "a.jp2": image,
        "a.ppm": image,
    }.items():
        saved.save(tmp_path / name)
        shown = only(tmp_path / name).astype(int)
        assert shown.shape == (*SHAPE, 3)
        wanted = example_image() if name in ("a.jp2", "a.ppm", "cmyk.tiff") else grey[..., None]
        if name != "bits.png":
            assert np.abs(shown - wanted).mean() < 2, name


def test_the_first_of_several_images_in_a_file_is_read(tmp_path):
    small = Image.new("RGB", (20, 20))
    Image.fromarray(example_image()).save(
        tmp_path / "a.jpg", "MPO", save_all=True, append_images=[small], quality=100
    )
    assert only(tmp_path / "a.jpg").shape == (*SHAPE, 3)
    assert frame_source.open_frame_source(tmp_path / "a.jpg").single_frame


def test_patterns_in_names_are_plain_names(tmp_path):
    for name, red in (("a1.tga", 250), ("a2.tga", 50), ("a%d.tga", 150), ("[a]*.jpg", 150)):
        Image.fromarray(example_image(red)).save(tmp_path / name)
    assert abs(int(only(tmp_path / "a%d.tga")[5, 5, 0]) - 150) < 3
    assert abs(int(only(tmp_path / "[a]*.jpg")[5, 5, 0]) - 150) < 20


@pytest.mark.filterwarnings("ignore:.*damaged .* packets were skipped")
def test_wrong_suffixes_and_damage_are_tolerated(tmp_path):
    Image.fromarray(example_image()).save(tmp_path / "a.jpg", exif=exif(3), quality=95)
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "b.mp4").write_bytes(whole)
    np.testing.assert_array_equal(only(tmp_path / "b.mp4"), only(tmp_path / "a.jpg"))
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    assert only(tmp_path / "cut.jpg").shape == (*SHAPE, 3)
    (tmp_path / "head.jpg").write_bytes(whole[:200])
    with pytest.raises(ValueError, match=r"head\.jpg"):
        video_reader.probe(tmp_path / "head.jpg")


def test_a_tiled_photo_is_complete_or_one_error(tmp_path):
    image = np.zeros((128, 192, 3), np.uint8)
    image[..., 0] = 40 + np.arange(192)
    path = heic.write_heic(tmp_path / "a.heic", image)
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        for look in (video_reader.probe, video_reader.read_frames):
            with pytest.raises(ValueError, match=r"a\.heic is a photo stored in tiles"):
                look(path)
    else:
        shown = only(path)
        assert shown.shape == image.shape
        assert np.abs(shown[..., 0].astype(int) - image[..., 0]).mean() < 8
