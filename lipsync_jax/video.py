"""Moving pictures: streams of frames with exact times in, encoded files with sound out.

Images are uint8 RGB (height, width, 3). A video is never held in memory: reading is a generator,
writing takes a frame at a time.
"""

import itertools
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from lipsync_jax import containers
from lipsync_jax.muxing import Output
from lipsync_jax.muxing import mux as mux

_CLOCK = 90_000  # least ticks a second of what is written
_HD_ROWS = 720  # from here on an untagged picture is taken as BT.709, below as BT.601
_UNTAGGED = 2  # AVCOL_SPC_UNSPECIFIED
# Without these two, FFmpeg's quick conversion brightens every pixel by one step.
_EXACT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


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
        pixel_aspect: width of a pixel over its height.
        codec: FFmpeg's name of the codec, e.g. `h264`.
        has_audio: whether there is sound.
        audio_rate: samples a second, 0 without sound.
        audio_channels: channels, 0 without sound.
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
    codec: str
    has_audio: bool
    audio_rate: int
    audio_channels: int


class Frame(NamedTuple):
    """One decoded frame.

    Attributes:
        time: exact seconds from the file's first frame.
        image: uint8 RGB (height, width, 3).
        index: its number among the frames yielded, from 0.
    """

    time: Fraction
    image: np.ndarray
    index: int


def probe(path: str | os.PathLike) -> VideoInfo:
    """Looks at a video's header and first frame.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, has no picture, or none that can be decoded.
    """
    with containers.open_video(path) as container:
        stream = containers.video_stream(container)
        sound = container.streams.best("audio")
        duration, rate = (
            containers.duration(container, stream),
            containers.frame_rate(container, stream),
        )
        frame, start = containers.first_frame(container, stream, path)
        image, aspect = _Shown()(frame), stream.sample_aspect_ratio or Fraction(1)
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
            codec=stream.codec_context.name,
            has_audio=sound is not None,
            audio_rate=sound.codec_context.sample_rate if sound else 0,
            audio_channels=sound.codec_context.layout.nb_channels if sound else 0,
        )


def read_frames(path: str | os.PathLike, start: Fraction | None = None) -> Iterator[Frame]:
    """Decodes a video, or a still image as a video of one frame.

    Rotation and mirroring that the file asks for are applied. Damaged packets are skipped and a
    file cut short yields what it has, with one warning that counts them. Times that are missing or
    run backwards are replaced by a step of one frame.

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
    return _read(containers.open_video(path), path, Fraction(start or 0))


def _read(
    container: av.container.InputContainer, path: str | os.PathLike, start: Fraction
) -> Iterator[Frame]:
    with container:
        stream = containers.video_stream(container)
        stream.thread_type = "AUTO"
        step = 1 / containers.frame_rate(container, stream)
        decoded = containers.decode_packets(container, stream, path)
        first = next(decoded, None)
        if first is None:
            raise ValueError(f"{path}: not one frame of its picture can be decoded")
        zero = containers.frame_time(first) or Fraction(0)
        decoded, earliest = itertools.chain([first], decoded), start - step / 4
        if start > 0:
            decoded = _seek(container, stream, path, zero + earliest) or decoded
        shown, previous, index = _Shown(), None, 0
        for frame in decoded:
            time = containers.frame_time(frame)
            time = None if time is None else time - zero
            if previous is not None and (time is None or time <= previous):
                time = previous + step
            previous = time if time is not None else Fraction(0)
            if previous >= earliest:
                yield Frame(previous, shown(frame), index)
                index += 1


def _seek(container, stream, path, moment: Fraction) -> Iterator[av.VideoFrame] | None:
    """Frames from a key frame at or before `moment`; None, rewound, where seeking overshoots."""
    try:
        container.seek(math.floor(moment / Fraction(stream.time_base)), stream=stream)
        decoded = containers.decode_packets(container, stream, path)
        first = next(decoded, None)
        time = None if first is None else containers.frame_time(first)
        if time is not None and time <= moment:
            return itertools.chain([first], decoded)
    except av.error.FFmpegError:
        pass
    container.seek(stream.start_time or 0, stream=stream)
    return containers.decode_packets(container, stream, path)


def constant_rate(frames: Iterable[Frame], frame_rate: Fraction | int) -> Iterator[Frame]:
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


class VideoWriter:
    """Encodes frames as they come, with the sound of a file beside them.

    The file is written under another name and takes its own when it is complete; if the `with`
    block fails, nothing is left. An odd width or height is filled up by a copy of the last column
    or row, since 4:2:0 colour needs even sizes; nothing is cropped or scaled. Colours are converted
    and tagged as BT.709, limited range. The picture lasts exactly its frames' durations.

        with VideoWriter("out.mp4", Fraction(25), (640, 360), audio="speech.wav") as writer:
            for image in images:
                writer.write(image)
    """

    def __init__(
        self,
        path: str | os.PathLike,
        frame_rate: Fraction | int,
        size: tuple[int, int],
        *,
        codec: str = "libx264",
        crf: int | None = 18,
        preset: str | None = "medium",
        lossless: bool = False,
        pixel_aspect: Fraction | int = 1,
        metadata: Mapping[str, str] | None = None,
        audio: str | os.PathLike | None = None,
        copy_audio: bool = True,
        shortest: bool = False,
    ):
        """Opens the output.

        Args:
            path: .mp4, .m4v, .mov or .mkv; its folder is made if need be. Matroska rounds times to
                milliseconds.
            frame_rate: frames a second, exact (`Fraction(30000, 1001)`).
            size: (width, height) of the frames to come.
            codec: FFmpeg's name of an encoder.
            crf: its constant quality, lower is better; None for encoders without it.
            preset: its speed; None for encoders without it.
            lossless: store RGB exactly (libx264rgb), odd sizes as they are; few players show it.
            pixel_aspect: width of a pixel over its height (`VideoInfo.pixel_aspect`).
            metadata: tags of the file, e.g. {"title": ...}.
            audio: a file whose sound goes along: time 0 is its own first picture, or its first
                sample where it has no picture.
            copy_audio: copy the encoded sound where the container allows; else encode it as AAC.
            shortest: end the sound with the picture.

        Raises:
            FileNotFoundError: no such audio file.
            ValueError: the path's suffix, the size, the encoder or its options, or the audio cannot
                be used.
        """
        width, height = size
        self.frame_rate, self.size, self.frames = Fraction(frame_rate), (width, height), 0
        if width < 1 or height < 1 or self.frame_rate <= 0:
            raise ValueError(f"{path}: size {size} at {frame_rate} frames a second is no video")
        self._exact, self._shortest = lossless, shortest
        self._output = Output(path, metadata)
        try:
            self._stream = self._output.add_video(
                "libx264rgb" if lossless else codec,
                self.frame_rate,
                {"qp": "0"} if lossless else {} if crf is None else {"crf": str(crf)},
                preset,
            )
            self._configure(self._stream.codec_context, Fraction(pixel_aspect))
            if audio is not None:
                self._output.add_audio(audio, copy_audio)
            self._output.start()
        except BaseException:
            self._output.abort()
            raise
        self._tick = Fraction(self._stream.codec_context.time_base)
        self._held: av.VideoFrame | None = None  # until the next frame tells its duration

    def _configure(self, context: av.VideoCodecContext, pixel_aspect: Fraction) -> None:
        width, height = self.size
        exact = self._exact
        context.width, context.height = (width, height) if exact else _even(width, height)
        context.pix_fmt = "rgb24" if exact else "yuv420p"
        context.sample_aspect_ratio = pixel_aspect
        # A clock with room for uneven times in which the even ones are whole numbers.
        ticks = self.frame_rate.numerator
        context.time_base = Fraction(1, ticks * -(-_CLOCK // ticks))
        context.color_primaries = context.color_trc = 1  # BT.709, shared with sRGB screens
        context.colorspace = 0 if exact else 1
        context.color_range = int(ColorRange.JPEG if exact else ColorRange.MPEG)

    def write(self, rgb: np.ndarray, time: Fraction | None = None) -> None:
        """Adds one frame.

        Args:
            rgb: uint8 (height, width, 3), RGB, of the writer's size.
            time: when it is shown, seconds from time 0, for uneven rates (kept to 11 µs); None
                means `frames / frame_rate`.

        Raises:
            ValueError: another size or type, or not later than the frame before.
        """
        width, height = self.size
        if rgb.shape != (height, width, 3) or rgb.dtype != np.uint8:
            raise ValueError(
                f"{self._output.path}: frame {self.frames} is {rgb.dtype} {rgb.shape}, "
                f"not uint8 {(height, width, 3)}"
            )
        pts = round((self.frames / self.frame_rate if time is None else time) / self._tick)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        if not self._exact:
            frame = _to_yuv(rgb, frame)
        frame.pts, frame.time_base = pts, self._tick
        if self._held is not None:
            if pts <= self._held.pts:
                raise ValueError(
                    f"{self._output.path}: frame {self.frames} at {float(pts * self._tick):.6f} s "
                    "is not later than the one before"
                )
            self._encode(pts - self._held.pts)
        self._held = frame
        self.frames += 1

    def _encode(self, duration: int) -> None:
        self._held.duration = duration
        self._output.mux(self._stream.encode(self._held))
        self._output.sound_until(self._held.pts * self._tick)

    def close(self) -> None:
        """Completes the file and gives it its name.

        Raises:
            ValueError: no frame was written.
        """
        if self._held is None:
            self.abort()
            raise ValueError(f"{self._output.path}: no frame was written, so there is no video")
        try:
            last = round(1 / self.frame_rate / self._tick)
            self._encode(last)
            self._output.mux(self._stream.encode(None))
            end = (self._held.pts + last) * self._tick
            self._output.sound_until(end if self._shortest else None)
        except BaseException:
            self.abort()
            raise
        self._output.close()

    def abort(self) -> None:
        """Closes without leaving a file."""
        self._output.abort()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.close() if kind is None else self.abort()


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


class _Shown:
    """Turns one stream's decoded frames into the RGB images that are to be shown."""

    def __init__(self):
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None  # of the first frame; later ones are scaled to it

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        self._size = self._size or (frame.width, frame.height)
        width, height = self._size
        guess = Colorspace.ITU709 if frame.height >= _HD_ROWS else Colorspace.ITU601
        untagged = frame.colorspace == _UNTAGGED and not frame.format.is_rgb
        planar = self._reformatter.reformat(
            frame,
            width,
            height,
            "gbrp",  # planes: three times as fast as packed pixels
            src_colorspace=guess if untagged else None,
            interpolation=Interpolation.BILINEAR | _EXACT,
        )
        green, blue, red = (
            np.frombuffer(plane, np.uint8).reshape(height, plane.line_size)[:, :width]
            for plane in planar.planes
        )
        image = cv2.merge((red, green, blue))
        if "DISPLAYMATRIX" in {side.type.name for side in frame.side_data}:
            image = _orient(image, np.frombuffer(frame.side_data["DISPLAYMATRIX"], "<i4"))
        return image


def _orient(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Applies a display matrix, (x, y) -> (a·x + c·y, b·x + d·y), to the nearest quarter turn."""
    a, b, c, d = (int(matrix[i]) for i in (0, 1, 3, 4))
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.swapaxes(0, 1), c, b
    image = image[:, ::-1] if a < 0 else image
    image = image[::-1] if d < 0 else image
    return np.ascontiguousarray(image)


def _even(width: int, height: int) -> tuple[int, int]:
    return width + width % 2, height + height % 2


def _to_yuv(rgb: np.ndarray, frame: av.VideoFrame) -> av.VideoFrame:
    height, width = rgb.shape[:2]
    if (width, height) != _even(width, height):
        filled = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(filled, format="rgb24")
    return frame.reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        interpolation=Interpolation.BICUBIC | _EXACT,
    )
