"""Opens media files and reads their headers.

Times are `fractions.Fraction` seconds.
"""

import contextlib
import os
from collections.abc import Mapping
from fractions import Fraction
from numbers import Rational
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av

from lipsync_jax.types import Argument

if TYPE_CHECKING:
    from av.container.core import Chapter  # which the stubs alone have

FFmpegError = av.error.FFmpegError

# Formats that hold media only. Other formats of FFmpeg refer to other files (playlists), or render
# any text as an image.
_FORMATS = ",".join(
    "aac ac3 aiff amr amrnb amrwb ape apng asf au av1 avi bmp_pipe caf dsf dts dtshd dv eac3 "
    "exr_pipe flac flv gif gif_pipe gsm gxf h261 h263 h264 hdr_pipe hevc ico image2 ivf j2k_pipe "
    "jpeg_pipe jpegls_pipe jpegxl_anim jpegxl_pipe loas m4v matroska,webm mjpeg mlp "
    "mov,mp4,m4a,3gp,3g2,mj2 mp3 mpc mpc8 mpeg mpegts mpegvideo mxf nsv nut obu ogg oma pam_pipe "
    "pbm_pipe pcx_pipe pgm_pipe png_pipe ppm_pipe psd_pipe qcp qoi_pipe rm sgi_pipe smjpeg sox "
    "sunrast_pipe tak tga_pipe tiff_pipe truehd tta vc1 voc vvc w64 wav webp_anim webp_pipe wtv wv "
    "xwma yuv4mpegpipe".split()
)
_DEFAULT_BONUS = 5_000_000  # pixels added for a default flag, as in the ffmpeg program
_PHOTO_CODECS = frozenset({"mjpeg", "png", "bmp", "tiff", "webp", "gif"})
_OPTIONS = {
    "format_whitelist": _FORMATS,
    "protocol_whitelist": "file",
    "pattern_type": "none",  # a%d.png is a file, not a sequence
}
# PyAV 18 refuses files with names that are not UTF-8 without this; PyAV 19 reads names lazily.
_LENIENT: dict[str, Argument] = (
    {"metadata_errors": "replace"} if hasattr(av.container.Container, "metadata_errors") else {}
)
_NO_DECODER = (
    "its {} is of a kind that can't be decoded; convert the file with the program that made it"
)
_LISTS = (b"#EXTM3U", b"ffconcat", b"<MPD", b"v=0", b"[playlist]")


def check_file(path: str | os.PathLike) -> Path:
    """Returns the path of a file that can be opened.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the path is a folder, a pipe or a device, or the file is empty.
    """
    file = Path(path)
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist; check the path")
    if file.is_dir():
        raise ValueError(f"{file} is a folder; name one file in it")
    if not file.is_file():
        raise ValueError(f"{file} is a pipe or a device; write its content to a file first")
    if file.stat().st_size == 0:
        raise ValueError(f"{file} is empty; copy or download it again")
    return file


def open_container(path: str | os.PathLike) -> av.container.InputContainer:
    """Opens a media file for reading; close the container, or use it in a `with`.

    Only media formats are read, and no other files to which a file may refer.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the path is a folder, or the file is empty, a playlist, a text, or in no format
            that FFmpeg supports.
    """
    file = check_file(path)
    try:
        # The prefix makes names such as `-a.mp4` and `a:b.mp4` plain file names.
        return av.open(f"file:{file}", options=_OPTIONS, **_LENIENT)
    except av.error.FFmpegError as error:
        with open(file, "rb") as stream:
            head = stream.read(256)
        if any(head.lstrip().startswith(mark) for mark in _LISTS):
            raise ValueError(
                f"{file} is a list of other files and holds no audio or video itself; name one of "
                "the files in it, or join them into one first"
            ) from error
        if _is_text(head):
            raise ValueError(
                f"{file} cannot be read as audio or video: it holds text; name a media file"
            ) from error
        refused = isinstance(error, av.error.ArgumentError)  # the format is not whitelisted
        reason = "a format that is not supported" if refused else error.strerror
        raise ValueError(
            f"{file} cannot be read as audio or video ({reason}); it may be damaged or "
            "cut short: convert it with another program, or download it again"
        ) from error


def _is_text(head: bytes) -> bool:
    return all(byte > 31 or byte in b"\t\n\r\x1b" for byte in head)


def rational(number: Rational | None) -> Fraction | None:
    """Converts a rational of PyAV to a Fraction; None where FFmpeg left it unset.

    PyAV 18 has fractions and None, PyAV 19 its own class in which 0/1 and 1/0 mean unset.
    """
    return Fraction(int(number.numerator), int(number.denominator)) if number else None


def tags(container: av.container.Container | av.stream.Stream) -> dict[str, str]:
    """Returns the tags of a container or stream, without tags that are not UTF-8."""
    found, metadata = {}, container.metadata
    for key in _keys(metadata):
        with contextlib.suppress(UnicodeDecodeError):
            found[key] = metadata[key]
    return found


def _keys(metadata: Mapping[str, str]) -> list[str]:
    try:
        return list(metadata)
    except UnicodeDecodeError:
        return []


def chapters(container: av.container.InputContainer) -> "list[Chapter]":
    """Returns the container's chapters; none if their titles are not UTF-8."""
    try:
        return container.chapters()
    except UnicodeDecodeError:
        return []


def video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """Returns the main video stream as FFmpeg selects it: the largest, default ones first.

    Thumbnails, which have one frame or a photo codec, come last; cover art does not count.
    """
    cover = av.stream.Disposition.attached_pic
    known = (stream for stream in container.streams.video if stream.codec_context is not None)
    return max((s for s in known if not s.disposition & cover), key=_rank, default=None)


def _rank(stream: av.VideoStream) -> tuple[bool, bool, int]:
    context = stream.codec_context
    default = bool(stream.disposition & av.stream.Disposition.default)
    size = context.width * context.height + _DEFAULT_BONUS * default
    return stream.frames != 1, context.name not in _PHOTO_CODECS, size


def open_video(path: str | os.PathLike) -> av.container.InputContainer:
    """Opens a file with a video stream.

    Raises:
        FileNotFoundError, ValueError: see `open_container`; or there is no video stream, or only
            the tiles of a photo.
    """
    container = open_container(path)
    stream = video_stream(container)
    if stream is None:
        unknown = any(other.codec_context is None for other in container.streams.video)
        container.close()
        if unknown:
            raise ValueError(f"{path}: {_NO_DECODER.format('video or image')}")
        raise ValueError(f"{path} has no video stream; name a video or an image file")
    try:
        require_whole_photo(stream, path)
    except ValueError:
        container.close()
        raise
    return container


def require_whole_photo(stream: av.VideoStream, path: str | os.PathLike) -> None:
    """Raises ValueError if the main video stream of a file is one of the tiles of a photo."""
    if stream.disposition & av.stream.Disposition.dependent:
        raise ValueError(
            f"{path} is a photo stored in tiles, of which only single ones can be read; install "
            "the reader of whole ones with `pip install pillow-heif`, or save the photo as JPEG"
        )


def main_audio(container: av.container.InputContainer) -> av.AudioStream | None:
    """Returns the best audio stream that can be decoded.

    Phones write a track of spatial audio, which FFmpeg would select and can't decode, beside the
    usual one.

    Returns:
        The stream; one without `codec_context` where none can be decoded, None where there is none.
    """
    best = cast(av.AudioStream | None, container.streams.best("audio"))
    if best is None or best.codec_context is not None:
        return best
    default = av.stream.Disposition.default
    known = (stream for stream in container.streams.audio if stream.codec_context is not None)
    return max(known, key=lambda stream: bool(stream.disposition & default), default=best)


def audio_stream(container: av.container.InputContainer, path: str | os.PathLike) -> av.AudioStream:
    """Returns the container's main audio stream, see `main_audio`.

    Raises:
        ValueError: there is no audio stream, or none that can be decoded.
    """
    stream = main_audio(container)
    if stream is None:
        raise ValueError(f"{path} has no audio stream; name a file with audio")
    if stream.codec_context is None:
        raise ValueError(f"{path}: {_NO_DECODER.format('audio')}")
    return stream


def duration(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction | None:
    """Returns the seconds of video by the header, None if unknown."""
    tick = rational(stream.time_base)
    if stream.duration is not None and tick is not None:
        return stream.duration * tick
    return None if container.duration is None else Fraction(container.duration, 1_000_000)


def frame_rate(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction:
    """Returns frames a second: the nominal rate if the frames keep to it, else the average."""
    average, clock = rational(stream.average_rate), rational(stream.base_rate)
    if average is None or clock is None:
        return average or clock or Fraction(25)
    seconds = duration(container, stream) or 0
    near = abs(clock - average) < average / 100
    # Headers differ in the last frame's duration: less than half a frame does not matter.
    return clock if near and abs(clock - average) * seconds < Fraction(1, 2) else average
