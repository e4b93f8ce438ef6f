"""Moving pictures: streams of frames with exact times in, encoded files with sound out.

Images are uint8 RGB (height, width, 3). A video is never held in memory: reading is a generator,
writing takes a frame at a time.
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

from lipsync_jax.media import containers, packets, still_images
from lipsync_jax.media import mux as muxing
from lipsync_jax.media.mux import mux as mux
from lipsync_jax.media.pixels import UNTAGGED, Shown, deinterlaced
from lipsync_jax.media.video_writer import VideoWriter as VideoWriter
from lipsync_jax.types import Native

_UNKNOWN = (0, UNTAGGED)  # of ITU-T H.273's numbers
_SRGB = 13


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself.

    Attributes:
        path: the file.
        width: columns of the frames `read_frames` yields (after rotation).
        height: rows of the same.
        frame_rate: frames a second, exact; the average where the rate varies.
        frames_estimate: number of frames as the header tells; read them to be sure.
        duration: seconds of picture, None where the header does not tell.
        rotation: degrees counter-clockwise by which stored frames are turned to be shown, 0, 90,
            180 or 270; `read_frames` does it.
        start_time: when the first frame is shown, seconds of the container's clock.
        pixel_aspect: width of a pixel over its height; 1 for photos, whose files tell how they are
            printed.
        colours: primaries, transfer function and matrix, numbers of ITU-T H.273: (1, 1, 1) is
            BT.709, (2, 2, 2) a video that does not tell; HLG is (9, 18, 9), PQ (9, 16, 9).
        codec: FFmpeg's name of the codec, e.g. `h264`.
        has_audio: whether there is sound.
        audio_rate: samples a second, 0 without sound.
        audio_channels: channels, 0 without sound.
        interlaced: whether its first frame is interlaced; `read_frames` removes the combs.
        beside: what there is beside picture and main sound, in words, see `muxing.describe`.
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
    beside: tuple[str, ...] = ()


class Frame(NamedTuple):
    """One decoded frame.

    Attributes:
        time: exact seconds from the file's first frame.
        image: uint8 RGB (height, width, 3).
        index: its number among the frames yielded, from 0.
    """

    time: Fraction
    image: np.ndarray
    index: int  # type: ignore[assignment]  # hides the method of a tuple, which frames don't need


def probe(path: str | os.PathLike) -> VideoInfo:
    """Looks at a video's header and first frame.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, has no picture, or none that can be decoded.
    """
    still = still_images.probe(path)
    if still is not None:
        return _still_info(still)
    with containers.open_video(path) as container:
        stream = containers.video_stream(container)
        sound = container.streams.best("audio")
        heard: Native = sound.codec_context if sound else None  # None too where no decoder is known
        duration, rate = (
            containers.duration(container, stream),
            containers.frame_rate(container, stream),
        )
        frame, start = packets.first_frame(container, stream, path)
        image = Shown()(frame)
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
            has_audio=sound is not None,
            audio_rate=heard.sample_rate if heard else 0,
            audio_channels=heard.layout.nb_channels if heard else 0,
            interlaced=frame.interlaced_frame,
            beside=muxing.describe(
                muxing.others(container, own_sound=True), len(containers.chapters(container))
            ),
        )


def _still_info(still: still_images.Still) -> VideoInfo:
    count = len(still.times)
    return VideoInfo(
        path=Path(still.path),
        width=still.width,
        height=still.height,
        frame_rate=_still_rate(still),
        frames_estimate=count,
        duration=still.duration if count > 1 else None,
        rotation=0,
        start_time=Fraction(0),
        pixel_aspect=Fraction(1),
        colours=(1, 1, 1),
        codec=still.codec,
        has_audio=False,
        audio_rate=0,
        audio_channels=0,
    )


def _still_rate(still: still_images.Still) -> Fraction:
    return len(still.times) / still.duration if still.duration else Fraction(25)


def _colours(context: av.VideoCodecContext, rgb: bool) -> tuple[int, int, int]:
    primaries, transfer, matrix = context.color_primaries, context.color_trc, context.colorspace
    if not rgb and primaries in _UNKNOWN and transfer in _UNKNOWN and matrix == UNTAGGED:
        return UNTAGGED, UNTAGGED, UNTAGGED
    # An sRGB picture counts as BT.709, which players show alike and encoders know.
    return (
        1 if rgb and primaries in _UNKNOWN else primaries,
        1 if transfer == _SRGB or (rgb and transfer in _UNKNOWN) else transfer,
        1 if rgb else matrix,
    )


def read_frames(
    path: str | os.PathLike, start: Fraction | None = None
) -> Generator[Frame, None, None]:
    """Decodes a video, or a still image as a video of one frame.

    Rotation and mirroring that the file asks for are applied, interlaced frames lose their combs,
    transparent pixels show a plain ground, and frames of another shape than the first are fitted
    between black bars. Damaged packets are skipped and a file cut short yields what it has, with
    one warning that counts them. Times that are missing or run backwards are replaced by a step of
    one frame.

    Args:
        path: any container FFmpeg reads.
        start: seconds from the first frame; the first frame yielded is the one shown there or the
            next (a quarter of a frame is forgiven, for clocks that are rounded).

    Returns:
        An iterator of frames in the order they are shown. The file is opened by this call.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read or has no picture; from the iterator, no frame could be
            decoded.
    """
    still = still_images.probe(path)
    if still is not None:
        return _read_still(still, Fraction(start or 0))
    return _read(containers.open_video(path), path, Fraction(start or 0))


def _read_still(still: still_images.Still, start: Fraction) -> Generator[Frame, None, None]:
    earliest = start - 1 / _still_rate(still) / 4
    shown = ((time, image) for time, image in still_images.read(still) if time >= earliest)
    for index, (time, image) in enumerate(shown):
        yield Frame(time, image, index)


def _read(
    container: av.container.InputContainer, path: str | os.PathLike, start: Fraction
) -> Generator[Frame, None, None]:
    with container:
        stream = containers.video_stream(container)
        stream.thread_type = "AUTO"
        step = 1 / containers.frame_rate(container, stream)
        decoded = packets.decode_packets(container, stream, path)
        first = next(decoded, None)
        if first is None:
            raise ValueError(f"{path}: not one frame of its picture can be decoded")
        zero = packets.frame_time(first) or Fraction(0)
        decoded, earliest = itertools.chain([first], decoded), start - step / 4
        untimed = packets.is_untimed(container, stream) or packets.joins(container, path)
        if start > 0 and not untimed:
            # Interlaced frames need the one before them, too.
            sought = _seek(path, zero + earliest - (2 * step if first.interlaced_frame else 0))
            key = next(sought, None)
            decoded = decoded if key is None else itertools.chain([key], sought)
        shown, previous, index = Shown(), None, 0
        shown.fit(first)
        for frame in deinterlaced(decoded):
            time = packets.frame_time(frame)
            time = None if time is None else time - zero
            if previous is not None and (time is None or time <= previous):
                time = previous + step
            previous = time if time is not None else Fraction(0)
            if previous >= earliest:
                yield Frame(previous, shown(frame), index)
                index += 1


def _seek(path: str | os.PathLike, moment: Fraction) -> Iterator[av.VideoFrame]:
    """Frames from a key frame at or before `moment`; none where the file cannot be sought so."""
    with containers.open_video(path) as container:
        stream = containers.video_stream(container)
        stream.thread_type = "AUTO"
        try:
            container.seek(
                math.floor(moment / containers.rational(stream.time_base)), stream=stream
            )
        except av.error.FFmpegError:
            return
        decoded = packets.decode_packets(container, stream, path)
        first = next(decoded, None)
        time = None if first is None else packets.frame_time(first)
        if time is not None and time <= moment:
            yield first
            yield from decoded


def constant_rate(
    frames: Iterable[Frame], frame_rate: Fraction | int
) -> Generator[Frame, None, None]:
    """Frames at an even rate: at each moment i / frame_rate the nearest in time of those given.

    Args:
        frames: as `read_frames` yields them, evenly spaced or not.
        frame_rate: frames a second wanted.

    Yields:
        Frames with even times and indices from 0; the last frame given counts as shown for as long
        as the one before it. Repeated frames share their image.
    """
    rate, index = Fraction(frame_rate), 0
    current, shown = None, 1 / rate
    for following in frames:
        if current is not None:
            shown = following.time - current.time
            while index / rate <= current.time + shown / 2:
                yield Frame(index / rate, current.image, index)
                index += 1
        current = following
    if current is not None:
        count = max(index, round((current.time + shown) * rate), 1)
        for last in range(index, count):
            yield Frame(last / rate, current.image, last)


def contact_sheet(frames: np.ndarray, columns: int) -> np.ndarray:
    """Frames side by side, row after row, on black.

    Args:
        frames: uint8 (n, height, width, 3), any channel order.
        columns: frames in a row.

    Returns:
        uint8 (rows · height, columns · width, 3).

    Raises:
        ValueError: no frames or no columns.
    """
    if not len(frames) or columns < 1:
        raise ValueError("a contact sheet needs at least one frame and one column")
    missing = -len(frames) % columns
    filled = np.pad(frames, ((0, missing), (0, 0), (0, 0), (0, 0)))
    count, height, width, channels = filled.shape
    grid = filled.reshape(count // columns, columns, height, width, channels).swapaxes(1, 2)
    return grid.reshape(-1, columns * width, channels)


def write_image(path: str | os.PathLike, rgb: np.ndarray) -> None:
    """Writes uint8 RGB (height, width, 3) as .png, .jpg or what else the suffix says.

    Raises:
        ValueError: no such image format.
    """
    path = Path(path)
    try:
        _, data = cv2.imencode(path.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    except cv2.error as error:
        raise ValueError(f"{path}: no image format is called {path.suffix!r}; use .png") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())
