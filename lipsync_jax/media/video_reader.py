"""Reads videos as streams of frames with exact times.

Images are uint8 RGB (height, width, 3). Reading is a generator, so that a video is never in memory
as a whole.
"""

import itertools
import math
import os
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from lipsync_jax import paths
from lipsync_jax.media import containers, image_files, packets, rising_times
from lipsync_jax.media import mux as muxing
from lipsync_jax.media.mux import mux as mux
from lipsync_jax.media.pixels import UNTAGGED, FrameConverter, deinterlace
from lipsync_jax.media.video_writer import VideoWriter as VideoWriter
from lipsync_jax.types import Untyped

_UNSPECIFIED = (0, UNTAGGED)  # codes of ITU-T H.273
_SRGB = 13


@dataclass(frozen=True)
class VideoInfo:
    """Metadata of a video file.

    Attributes:
        path: the file.
        width: columns of the frames of `read_frames` (after rotation).
        height: rows of those frames.
        frame_rate: frames a second, exact; the average where the rate varies.
        frames_estimate: number of frames by the header, which may be wrong.
        duration: seconds of video by the header, None if unknown.
        rotation: degrees counter-clockwise from stored frames to displayed ones, 0, 90, 180 or
            270; `read_frames` applies the rotation.
        start_time: of the first frame, seconds of the container's clock.
        pixel_aspect: width of a pixel over its height; 1 for photos, where files have the aspect
            of a print.
        colours: primaries, transfer function and matrix, codes of ITU-T H.273: (1, 1, 1) is
            BT.709, (2, 2, 2) unspecified; HLG is (9, 18, 9), PQ (9, 16, 9).
        codec: FFmpeg's name of the codec, e.g. `h264`.
        has_audio: whether there is an audio stream.
        audio_rate: samples a second, 0 without audio.
        audio_channels: number of channels, 0 without audio.
        interlaced: whether the first frame is interlaced; `read_frames` deinterlaces.
        extra_streams: descriptions of streams beside the main video and audio, see
            `mux.describe_streams`.
    """

    path: Path
    width: int
    height: int
    frame_rate: Fraction
    frames_estimate: int
    duration: Fraction | None
    rotation: int
    start_time: Fraction
    pixel_aspect: Fraction
    colours: tuple[int, int, int]
    codec: str
    has_audio: bool
    audio_rate: int
    audio_channels: int
    interlaced: bool = False
    extra_streams: tuple[str, ...] = ()


class Frame(NamedTuple):
    """One decoded frame.

    Attributes:
        time: exact seconds from the file's first frame.
        image: uint8 RGB (height, width, 3); a `planar.PlanarImage` where planes were asked for.
        index: its number among the frames yielded, from 0.
    """

    time: Fraction
    image: Untyped  # np.ndarray; or planar.PlanarImage, for readers that ask for planes
    index: int  # type: ignore[assignment]  # hides the method of a tuple, which frames don't need


def probe(path: str | os.PathLike) -> VideoInfo:
    """Reads a video's header and first frame.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, has no video stream, or none that can be decoded.
    """
    image_info = image_files.probe(path)
    if image_info is not None:
        return _image_video_info(image_info)
    with containers.open_video(path) as container:
        stream = containers.video_stream(container)
        audio_stream = containers.main_audio(container)
        # None too where there is no decoder.
        audio_context: Untyped = audio_stream.codec_context if audio_stream else None
        duration = containers.duration(container, stream)
        rate = containers.frame_rate(container, stream)
        frame, start = packets.first_frame(container, stream, path)
        image = FrameConverter()(frame)
        photo = container.format.name.endswith(("_pipe", "image2"))
        aspect = containers.rational(stream.sample_aspect_ratio) or Fraction(1)
        aspect = Fraction(1) if photo else aspect
        return VideoInfo(
            path=Path(path),
            width=image.shape[1],
            height=image.shape[0],
            frame_rate=rate,
            frames_estimate=stream.frames or round((duration or 0) * rate) or 1,
            duration=duration,
            rotation=frame.rotation % 360,
            start_time=start,
            pixel_aspect=1 / aspect if frame.rotation % 180 else aspect,
            colours=_colours(stream.codec_context, photo or frame.format.is_rgb),
            codec=stream.codec_context.codec.canonical_name,
            has_audio=audio_stream is not None,
            audio_rate=audio_context.sample_rate if audio_context else 0,
            audio_channels=audio_context.layout.nb_channels if audio_context else 0,
            interlaced=frame.interlaced_frame,
            extra_streams=muxing.describe_streams(
                muxing.extra_streams(container, own_audio=True), len(containers.chapters(container))
            ),
        )


def _image_video_info(image_info: image_files.ImageInfo) -> VideoInfo:
    count = len(image_info.times)
    return VideoInfo(
        path=Path(image_info.path),
        width=image_info.width,
        height=image_info.height,
        frame_rate=_image_frame_rate(image_info),
        frames_estimate=count,
        duration=image_info.duration if count > 1 else None,
        rotation=0,
        start_time=Fraction(0),
        pixel_aspect=Fraction(1),
        colours=(1, 1, 1),
        codec=image_info.codec,
        has_audio=False,
        audio_rate=0,
        audio_channels=0,
    )


def _image_frame_rate(image_info: image_files.ImageInfo) -> Fraction:
    return len(image_info.times) / image_info.duration if image_info.duration else Fraction(25)


def _colours(context: av.VideoCodecContext, rgb: bool) -> tuple[int, int, int]:
    primaries, transfer, matrix = context.color_primaries, context.color_trc, context.colorspace
    if not rgb and primaries in _UNSPECIFIED and transfer in _UNSPECIFIED and matrix == UNTAGGED:
        return UNTAGGED, UNTAGGED, UNTAGGED
    # sRGB counts as BT.709, which players show equally and encoders support.
    return (
        1 if rgb and primaries in _UNSPECIFIED else primaries,
        1 if transfer == _SRGB or (rgb and transfer in _UNSPECIFIED) else transfer,
        1 if rgb else matrix,
    )


def read_frames(
    path: str | os.PathLike, start: Fraction | None = None, planes: bool = False
) -> Generator[Frame, None, None]:
    """Decodes a video, or an image as a video of one frame.

    The orientation of the file is applied, interlaced frames are deinterlaced, transparent pixels
    show a plain background, and frames of another aspect ratio than the first are letterboxed.
    Damaged packets are skipped and a truncated file yields its readable frames, with one warning.
    Frames that repeat a time share the interval up to the next, as do single frames whose time is
    damaged: far ahead of the frames on both sides, or, at the end, of the audio. Missing times, and
    times after a jump back, are replaced by a step of one frame.

    Args:
        path: any container that FFmpeg reads.
        start: seconds from the first frame; the first frame yielded is at that time or after (with
            a tolerance of a quarter of a frame, for rounded clocks).
        planes: whether frames of 8-bit 4:2:0 that need no change are not converted: their image is
            a `planar.PlanarImage`.

    Returns:
        An iterator of frames in display order. The file is opened by this call.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read or has no video stream; from the iterator, no frame
            could be decoded.
    """
    image_info = image_files.probe(path)
    if image_info is not None:
        return _read_image(image_info, Fraction(start or 0))
    return _read(containers.open_video(path), path, Fraction(start or 0), planes)


def _read_image(image_info: image_files.ImageInfo, start: Fraction) -> Generator[Frame, None, None]:
    earliest = start - 1 / _image_frame_rate(image_info) / 4
    selected = ((time, image) for time, image in image_files.read(image_info) if time >= earliest)
    for index, (time, image) in enumerate(selected):
        yield Frame(time, image, index)


def _read(
    container: av.container.InputContainer,
    path: str | os.PathLike,
    start: Fraction,
    planes: bool,
) -> Generator[Frame, None, None]:
    with container:
        stream = containers.video_stream(container)
        stream.thread_type = "AUTO"
        step = 1 / containers.frame_rate(container, stream)
        decoded = packets.decode_packets(container, stream, path)
        first = next(decoded, None)
        if first is None:
            raise ValueError(f"{path}: not one of its video frames can be decoded")
        zero = packets.frame_time(first) or Fraction(0)
        decoded, earliest = itertools.chain([first], decoded), start - step / 4
        untimed = packets.is_untimed(container, stream) or packets.clock_shifts(container, path)
        if start > 0 and not untimed:
            # Interlaced frames need the frame before them too.
            after_seek = _seek(path, zero + earliest - (2 * step if first.interlaced_frame else 0))
            key = next(after_seek, None)
            decoded = decoded if key is None else itertools.chain([key], after_seek)
        converter, index = FrameConverter(), 0
        converter.set_size(first)
        convert = converter.keep_planes if planes else converter
        rising = rising_times.with_rising_times(
            deinterlace(decoded), zero, step, lambda: packets.audio_end(path)
        )
        for time, frame in rising:
            if time >= earliest:
                yield Frame(time, convert(frame), index)
                index += 1


def _seek(path: str | os.PathLike, target: Fraction) -> Iterator[av.VideoFrame]:
    """Yields frames from a key frame at or before a time; none if the file can't be sought."""
    with containers.open_video(path) as container:
        stream = containers.video_stream(container)
        stream.thread_type = "AUTO"
        try:
            container.seek(
                math.floor(target / containers.rational(stream.time_base)), stream=stream
            )
        except av.error.FFmpegError:
            return
        decoded = packets.decode_packets(container, stream, path)
        first = next(decoded, None)
        time = None if first is None else packets.frame_time(first)
        if time is not None and time <= target:
            yield first
            yield from decoded


def resample_fps(
    frames: Iterable[Frame], frame_rate: Fraction | int
) -> Generator[Frame, None, None]:
    """Resamples frames to a constant rate: the nearest frame at each time i / frame_rate.

    Args:
        frames: from `read_frames`, evenly spaced or not.
        frame_rate: frames a second of the result.

    Yields:
        Frames with even times and indices from 0; the last frame given lasts as long as the one
        before it. Repeated frames share their image.
    """
    rate, index = Fraction(frame_rate), 0
    current, display_duration = None, 1 / rate
    for next_frame in frames:
        if current is not None:
            display_duration = next_frame.time - current.time
            while index / rate <= current.time + display_duration / 2:
                yield Frame(index / rate, current.image, index)
                index += 1
        current = next_frame
    if current is not None:
        count = max(index, round((current.time + display_duration) * rate), 1)
        for last in range(index, count):
            yield Frame(last / rate, current.image, last)


def contact_sheet(frames: np.ndarray, columns: int) -> np.ndarray:
    """Tiles frames in rows, on black.

    Args:
        frames: uint8 (n, height, width, 3), any channel order.
        columns: frames in a row.

    Returns:
        uint8 (rows · height, columns · width, 3).

    Raises:
        ValueError: there are no frames or no columns.
    """
    if not len(frames) or columns < 1:
        raise ValueError("a contact sheet needs at least one frame and one column")
    missing = -len(frames) % columns
    padded = np.pad(frames, ((0, missing), (0, 0), (0, 0), (0, 0)))
    count, height, width, channels = padded.shape
    grid = padded.reshape(count // columns, columns, height, width, channels).swapaxes(1, 2)
    return grid.reshape(-1, columns * width, channels)


def check_image_path(path: str | os.PathLike) -> None:
    """Refuses a path that `write_image` can't write, before the image is made.

    Raises:
        ValueError: the path is a folder, or there is no image format for its suffix.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give a file in it, e.g. {path / 'image.png'}")
    if not path.suffix.isascii() or not cv2.haveImageWriter(f"image{path.suffix}"):
        raise ValueError(f"{path}: no image format is called {path.suffix!r}; use .png")


def write_image(path: str | os.PathLike, rgb: np.ndarray) -> None:
    """Writes uint8 RGB (height, width, 3) in the image format of the suffix.

    Raises:
        ValueError: see `check_image_path`.
    """
    path = Path(path)
    check_image_path(path)
    _, data = cv2.imencode(path.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    path.parent.mkdir(parents=True, exist_ok=True)
    paths.write_bytes(path, data.tobytes())
