"""Images in files, single or animated, read by Pillow: upright, opaque and whole.

What Pillow can't read is left to FFmpeg, which knows videos, GIF and rarer formats.
"""

import contextlib
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
GROUND = 255  # of red, green and blue, what shows through where an image is transparent
_HEIF = frozenset({b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"})
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF")
_STARTS = (
    b"\xff\xd8\xff", b"\x89PNG", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"BM", b"P5", b"P6",
    b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51",
)  # fmt: skip
_CODECS = {"JPEG": "mjpeg", "MPO": "mjpeg", "AVIF": "av1", "HEIF": "hevc"}
_USUAL = Fraction(1, 10)  # seconds of an animation's frame that does not tell its duration


class Still(NamedTuple):
    """What an image file says of itself.

    Attributes:
        path: the file.
        width: columns, as it is to be shown.
        height: rows.
        times: when each frame of an animation is shown, seconds; only 0 for a single image.
        duration: seconds of an animation, 0 for a single image.
        codec: FFmpeg's name of the compression.
    """

    path: str
    width: int
    height: int
    times: tuple[Fraction, ...]
    duration: Fraction
    codec: str


def probe(path: str | os.PathLike) -> Still | None:
    """Looks at an image; None where the file is none that Pillow can read.

    Raises:
        FileNotFoundError, ValueError: see `containers.check_file`.
    """
    with _opened(path) as image:
        if image is None:
            return None
        count = getattr(image, "n_frames", 1)
        animated = count > 1 and image.format in ("WEBP", "AVIF", "PNG")
        if animated and image.format == "PNG":
            return None  # FFmpeg plays it
        codec = _CODECS.get(image.format, image.format.lower())
        try:
            shown = _upright(image)
            if shown.mode in ("F", "I"):
                return None
            lengths = [_length(image, number) for number in range(count)] if animated else []
        except Exception:  # damaged, or of a kind that Pillow lacks: FFmpeg reads what there is
            return None
        times = [sum(lengths[:number], Fraction(0)) for number in range(len(lengths))]
        return Still(
            os.fspath(path), *shown.size, tuple(times) or (Fraction(0),), sum(lengths, Fraction(0)),
            codec,
        )  # fmt: skip


def read(still: Still) -> Iterator[tuple[Fraction, np.ndarray]]:
    """Decodes an image.

    Args:
        still: what `probe` found.

    Yields:
        When it is shown, and uint8 RGB (height, width, 3).

    Raises:
        ValueError: it can't be decoded any more.
    """
    with _opened(still.path) as image:
        if image is None:
            raise ValueError(f"{still.path} changed while it was being read")
        for number, time in enumerate(still.times):
            if number:
                image.seek(number)
            yield time, _opaque(_upright(image))


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Image.Image | None]:
    """An image that Pillow can read, or None."""
    with open(containers.check_file(path), "rb") as file:
        formats = _formats(file.read(16))
        image = None
        if formats:
            file.seek(0)
            Image.init()  # by itself, Pillow loads no reader of a format that is asked for by name
            with contextlib.suppress(Exception):
                image = Image.open(file, formats=[f for f in formats if f in Image.OPEN])
        yield image


def _formats(head: bytes) -> tuple[str, ...]:
    """The names of the formats that a file may have by its first bytes."""
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
    return _FORMATS if webp or head.startswith(_STARTS) else ()


def _upright(image: Image.Image) -> Image.Image:
    """The image as EXIF says it is to be shown."""
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF that can't be read says nothing
        return image.copy()


def _opaque(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image, np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (GROUND, GROUND, GROUND, 255))
        image = Image.alpha_composite(ground, layer)
    return np.ascontiguousarray(np.asarray(image.convert("RGB")))


def _length(image: Image.Image, number: int) -> Fraction:
    image.seek(number)
    image.load()
    return Fraction(image.info.get("duration", 0) or 0).limit_denominator(1000) / 1000 or _USUAL
