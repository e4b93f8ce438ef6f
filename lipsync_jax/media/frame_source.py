"""The face video of generation: resized, rotated, cropped, with random access to frames."""

import contextlib
import dataclasses
import itertools
import math
import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from lipsync_jax.media import timeline, video_reader
from lipsync_jax.media.planar import Image, PlanarImage
from lipsync_jax.media.video_reader import Frame

IMAGE_FRAME_RATE = Fraction(25)  # of a video made from an image
MAX_BUFFER_BYTES = 128 << 20  # of frames in memory, for reading backwards
_MAX_SKIPPED = 25  # frames that are read and discarded rather than sought over
_CLOCK_ERROR = Fraction(1, 999)  # seconds; Matroska and FLV round times to milliseconds


class FramesDiffer(ValueError):
    """A video does not have the frames that an earlier reading found."""


@dataclasses.dataclass(frozen=True)
class FrameSource:
    """A face video or image, opened again for each reading.

    Attributes:
        path: the file.
        frame_rate: frames a second, exact; the average where the rate varies.
        output_rate: frames a second to write, see `timeline.output_rate`.
        size: (width, height) of the frames.
        pixel_aspect: width of a pixel over its height.
        colours: see `VideoInfo`.
        single_frame: whether there is one frame only, an image or (`static`) a video's first frame.
        frames_estimate: approximate number of frames.
        transform: resizes, rotates and crops one image.
        notes: sentences on what will differ from the file.
        untransformed: whether `transform` changes nothing.
    """

    path: Path
    frame_rate: Fraction
    output_rate: Fraction
    size: tuple[int, int]
    pixel_aspect: Fraction
    colours: tuple[int, int, int]
    single_frame: bool
    frames_estimate: int
    transform: Callable[[np.ndarray], np.ndarray]
    notes: tuple[str, ...] = ()
    untransformed: bool = False

    def frames(
        self, start: Fraction | None = None, planes: bool = False
    ) -> Generator[Frame, None, None]:
        """Yields the frames, see `video_reader.read_frames`; images are of `size`."""
        frames = video_reader.read_frames(self.path, start, planes and self.untransformed)
        try:
            for frame in itertools.islice(frames, 1 if self.single_frame else None):
                if isinstance(frame.image, PlanarImage):
                    yield frame
                else:
                    yield frame._replace(image=self.transform(frame.image))
        finally:
            frames.close()


def open_frame_source(
    path: str | os.PathLike,
    *,
    static: bool = False,
    frame_rate: Fraction | None = None,
    resize_factor: int = 1,
    rotate: bool = False,
    crop: tuple[int, int, int, int] = (0, -1, 0, -1),
) -> FrameSource:
    """Opens a face video or image.

    Args:
        path: any video or image that FFmpeg reads.
        static: use a video's first frame only.
        frame_rate: of an image, 25 by default; a video keeps its own.
        resize_factor: divides width and height, first.
        rotate: then rotate by 90 degrees clockwise.
        crop: then crop to these pixels: top, bottom, left, right; -1 is the far border.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file can't be read, or the crop is empty.
    """
    info = video_reader.probe(path)

    def transform(image: np.ndarray) -> np.ndarray:
        if resize_factor > 1:
            height, width = image.shape[:2]
            size = max(1, width // resize_factor), max(1, height // resize_factor)
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        if rotate:
            image = cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE)
        top, bottom, left, right = crop
        rows, columns = image.shape[:2]
        image = image[
            top : rows if bottom == -1 else bottom, left : columns if right == -1 else right
        ]
        return np.ascontiguousarray(image)

    height, width = transform(np.zeros((info.height, info.width, 3), np.uint8)).shape[:2]
    if not height or not width:
        raise ValueError(
            f"{path}: `crop`={tuple(crop)} (top, bottom, left, right) leaves nothing of its frames"
        )
    single_image = is_image(info)
    rate = (frame_rate or IMAGE_FRAME_RATE) if single_image else info.frame_rate
    return FrameSource(
        path=Path(path),
        frame_rate=rate,
        output_rate=rate if single_image else timeline.output_rate(rate),
        size=(width, height),
        pixel_aspect=1 / info.pixel_aspect if rotate else info.pixel_aspect,
        colours=info.colours,
        single_frame=single_image or static,
        frames_estimate=1 if single_image or static else info.frames_estimate,
        transform=transform,
        notes=_notes(info),
        untransformed=not rotate and (width, height) == (info.width, info.height),
    )


@dataclasses.dataclass(frozen=True)
class _HeldSource(FrameSource):
    held: tuple[Frame, ...] = dataclasses.field(default=(), repr=False)

    def frames(
        self, start: Fraction | None = None, planes: bool = False
    ) -> Generator[Frame, None, None]:
        yield from (frame for frame in self.held if start is None or frame.time >= start)


def hold_frames(
    source: FrameSource, max_bytes: int, max_seconds: float = math.inf
) -> tuple[FrameSource, bool]:
    """Reads a source into memory, so that a player may jump in it without decoding.

    Args:
        source: the face video.
        max_bytes: of frames; later frames are left out, but the first is always there.
        max_seconds: of frames, at the source's frame rate; likewise.

    Returns:
        A source with the frames in memory, and whether they are all of the video's.
    """
    width, height = source.size
    most = max_bytes // (3 * width * height)
    if max_seconds < math.inf:
        most = min(most, math.ceil(max_seconds * source.frame_rate))
    most = max(1, most)
    with contextlib.closing(source.frames()) as frames:
        held = tuple(itertools.islice(frames, most))
        complete = next(frames, None) is None
    fields = {field.name: getattr(source, field.name) for field in dataclasses.fields(source)}
    return _HeldSource(**{**fields, "frames_estimate": len(held), "held": held}), complete


def _notes(info: video_reader.VideoInfo) -> tuple[str, ...]:
    interlaced = (
        (f"{info.path} is interlaced: its frames are deinterlaced",) if info.interlaced else ()
    )
    extra_streams = (
        (f"{info.path}: not kept: {', '.join(info.extra_streams)}",) if info.extra_streams else ()
    )
    return (*interlaced, *extra_streams)


def is_image(info: video_reader.VideoInfo) -> bool:
    """Returns whether a file is a single image and not a video."""
    if info.frames_estimate > 1 or info.has_audio:
        return False
    with contextlib.closing(video_reader.read_frames(info.path)) as frames:  # headers may be wrong
        return len(list(itertools.islice(frames, 2))) == 1


def snap_times(times: Sequence[Fraction], frame_rate: Fraction) -> tuple[Fraction, ...]:
    """Removes a container's rounding: returns i / frame_rate if all times are within 1 ms of it."""
    times = tuple(times)
    uniform = tuple(i / frame_rate for i in range(len(times)))
    if uniform != times and all(
        abs(a - b) <= _CLOCK_ERROR for a, b in zip(times, uniform, strict=True)
    ):
        return uniform
    return times


class FrameReader:
    """Reads frames of a source by number, in any order, with few of them in memory.

    Reading backwards uses the buffer first, then a seek and another run of reading; a jump far
    ahead is a seek too.
    """

    def __init__(
        self,
        source: FrameSource,
        times: Sequence[Fraction],
        buffer_bytes: int | None = None,
        planes: bool = False,
    ) -> None:
        """Opens the source at the first frame.

        Args:
            source: of the frames.
            times: of the frames, from an earlier reading.
            buffer_bytes: most bytes of frames in memory; None for MAX_BUFFER_BYTES.
            planes: see `video_reader.read_frames`.
        """
        width, height = source.size
        self._source, self._times, self._planes = source, times, planes
        buffer_bytes = MAX_BUFFER_BYTES if buffer_bytes is None else buffer_bytes
        self._buffer: deque[Image] = deque(maxlen=max(2, buffer_bytes // (3 * width * height)))
        self._frames: Generator[Frame, None, None] | None = None
        self._open(0)

    def __getitem__(self, number: int) -> Image:
        """Returns frame `number`, by default uint8 RGB (height, width, 3); not to be modified.

        Raises:
            FramesDiffer: the file has changed since it was first read.
        """
        first = self._next - len(self._buffer)
        if number < first:
            self._open(max(0, number + 1 - self._buffer.maxlen))
        elif number - self._next > _MAX_SKIPPED:
            self._open(number)
        while self._next <= number:
            self._read()
        return self._buffer[number - self._next]

    def close(self) -> None:
        """Closes the file."""
        if self._frames is not None:
            self._frames.close()

    def _open(self, number: int) -> None:
        self.close()
        self._frames = self._source.frames(self._times[number] if number else None, self._planes)
        self._buffer.clear()
        self._next, self._sought = number, number > 0

    def _read(self) -> None:
        frame = next(self._frames, None)
        if frame is not None and frame.time == self._times[self._next]:
            self._buffer.append(frame.image)
            self._next += 1
            return
        if not self._sought:
            raise FramesDiffer(f"{self._source.path} changed while it was being read")
        # In some damaged files times after a seek differ: count from the start.
        target = self._next
        self._open(0)
        while self._next < target:
            self._read()
