"""Reads images, single or animated, with Pillow: oriented by EXIF and opaque.

Other formats are left to FFmpeg, which reads videos, GIF and rarer formats.
"""

import contextlib
import itertools
import os
import warnings
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from lipsync_jax.media import containers

# Pillow warns of broken EXIF and of very large photos, neither of which matters here.
warnings.filterwarnings("ignore", module="PIL")
BACKGROUND = 255  # value of red, green and blue behind transparent pixels
_HEIF = frozenset({b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"})
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF")
_MAGIC_BYTES = (
    b"\xff\xd8\xff", b"\x89PNG", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"BM", b"P5", b"P6",
    b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51",
)  # fmt: skip
_CODECS = {"JPEG": "mjpeg", "MPO": "mjpeg", "AVIF": "av1", "HEIF": "hevc"}
_DEFAULT_FRAME_DURATION = Fraction(1, 10)  # seconds of an animation's frame without a duration


class ImageInfo(NamedTuple):
    """Metadata of an image file.

    Attributes:
        path: the file.
        width: columns after orientation.
        height: rows after orientation.
        times: of the frames of an animation, seconds; only 0 for a single image.
        duration: seconds of an animation, 0 for a single image.
        codec: FFmpeg's name of the compression.
    """

    path: str
    width: int
    height: int
    times: tuple[Fraction, ...]
    duration: Fraction
    codec: str


def probe(path: str | os.PathLike) -> ImageInfo | None:
    """Reads the metadata of an image; None for files that Pillow can't read.

    Raises:
        FileNotFoundError, ValueError: see `containers.check_file`.
    """
    with _open_image(path) as image:
        if image is None:
            return None
        count = getattr(image, "n_frames", 1)
        animated = count > 1 and image.format in ("WEBP", "AVIF", "PNG")
        if animated and image.format == "PNG":
            return None  # read by FFmpeg
        codec = _CODECS.get(image.format, image.format.lower())
        try:
            upright = _apply_exif_orientation(image)
            if upright.mode in ("F", "I"):
                return None
            lengths = (
                [_frame_duration(image, number) for number in range(count)] if animated else []
            )
        except Exception:  # damaged or not supported: left to FFmpeg
            return None
        *times, total = itertools.accumulate(lengths, initial=Fraction(0))
        return ImageInfo(
            os.fspath(path), *upright.size, tuple(times) or (Fraction(0),), total, codec
        )


def read(info: ImageInfo) -> Iterator[tuple[Fraction, np.ndarray]]:
    """Decodes an image.

    Args:
        info: from `probe`.

    Yields:
        The time of each frame, seconds, and uint8 RGB (height, width, 3).

    Raises:
        ValueError: the file has changed and can't be decoded.
    """
    with _open_image(info.path) as image:
        if image is None:
            raise ValueError(f"{info.path} changed while it was being read")
        for number, time in enumerate(info.times):
            if number:
                image.seek(number)
            yield time, _to_rgb(_apply_exif_orientation(image))


@contextlib.contextmanager
def _open_image(path: str | os.PathLike) -> Iterator[Image.Image | None]:
    """Yields an image that Pillow can read, or None."""
    with open(containers.check_file(path), "rb") as file:
        formats = _formats(file.read(16))
        image = None
        if formats:
            file.seek(0)
            Image.init()  # else Pillow loads no readers for the formats given
            with contextlib.suppress(Exception):
                image = Image.open(file, formats=[f for f in formats if f in Image.OPEN])
        yield image


def _formats(head: bytes) -> tuple[str, ...]:
    """Returns the names of the formats that match a file's first bytes."""
    brand = head[8:12] if head[4:8] == b"ftyp" else b""
    if brand in _HEIF:
        try:
            import pillow_heif
        except ImportError:
            return ("AVIF",)
        pillow_heif.register_heif_opener()
        return ("AVIF", "HEIF")
    if brand in (b"avif", b"avis"):
        return ("AVIF",)
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return _FORMATS if webp or head.startswith(_MAGIC_BYTES) else ()


def _apply_exif_orientation(image: Image.Image) -> Image.Image:
    """Applies the orientation in EXIF."""
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # unreadable EXIF
        return image.copy()


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image, np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        background = Image.new("RGBA", layer.size, (BACKGROUND, BACKGROUND, BACKGROUND, 255))
        image = Image.alpha_composite(background, layer)
    return np.ascontiguousarray(np.asarray(image.convert("RGB")))


def _frame_duration(image: Image.Image, number: int) -> Fraction:
    image.seek(number)
    image.load()
    return (
        Fraction(image.info.get("duration", 0) or 0).limit_denominator(1000) / 1000
        or _DEFAULT_FRAME_DURATION
    )
