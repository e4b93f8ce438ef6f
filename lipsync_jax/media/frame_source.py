"""The face video as the later stages see it: scaled, turned, cut, and readable in any order."""

import contextlib
import dataclasses
import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from lipsync_jax.media import timeline, video_reader
from lipsync_jax.media.video_reader import Frame

STILL_RATE = Fraction(25)  # frames a second made of a picture
MEMORY = 128 << 20  # bytes of frames that may be held to play backwards
_CLOCK_ERROR = Fraction(1, 999)  # seconds; Matroska and FLV round times to milliseconds


@dataclasses.dataclass(frozen=True)
class Source:
    """A face video or picture, opened anew for each reading.

    Attributes:
        path: the file.
        frame_rate: frames a second, exact; the average where the rate varies.
        output_rate: frames a second to write, see `timeline.output_rate`.
        size: (width, height) of the frames `frames` yields.
        pixel_aspect: width of a pixel over its height.
        colours: see `VideoInfo`.
        still: whether there is one frame only, a picture's or (`static`) a video's first.
        frames_estimate: about how many frames there are.
        change: scales, turns and cuts one image.
        notes: what about the file will not be as it was, a sentence each.
    """

    path: Path
    frame_rate: Fraction
    output_rate: Fraction
    size: tuple[int, int]
    pixel_aspect: Fraction
    colours: tuple[int, int, int]
    still: bool
    frames_estimate: int
    change: Callable[[np.ndarray], np.ndarray]
    notes: tuple[str, ...] = ()

    def frames(self, start: Fraction | None = None) -> Generator[Frame, None, None]:
        """Reads the frames, see `video.read_frames`; images are uint8 RGB of `size`."""
        frames = video_reader.read_frames(self.path, start)
        try:
            for frame in itertools.islice(frames, 1 if self.still else None):
                yield frame._replace(image=self.change(frame.image))
        finally:
            frames.close()


def open_source(
    path: str | os.PathLike,
    *,
    static: bool = False,
    frame_rate: Fraction | None = None,
    resize_factor: int = 1,
    rotate: bool = False,
    crop: tuple[int, int, int, int] = (0, -1, 0, -1),
) -> Source:
    """Looks at a face video or picture.

    Args:
        path: any video or image FFmpeg reads.
        static: use a video's first frame only.
        frame_rate: of a picture, 25 by default; a video keeps its own.
        resize_factor: divides width and height, first of all.
        rotate: then turn by 90 degrees clockwise.
        crop: then keep these pixels: top, bottom, left, right; -1 is the far border.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it can't be read, or nothing is left of its frames.
    """
    info = video_reader.probe(path)

    def change(image: np.ndarray) -> np.ndarray:
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

    height, width = change(np.zeros((info.height, info.width, 3), np.uint8)).shape[:2]
    if not height or not width:
        raise ValueError(
            f"{path}: crop={tuple(crop)} (top, bottom, left, right) leaves nothing of its frames"
        )
    picture = is_picture(info)
    rate = (frame_rate or STILL_RATE) if picture else info.frame_rate
    return Source(
        path=Path(path),
        frame_rate=rate,
        output_rate=rate if picture else timeline.output_rate(rate),
        size=(width, height),
        pixel_aspect=1 / info.pixel_aspect if rotate else info.pixel_aspect,
        colours=info.colours,
        still=picture or static,
        frames_estimate=1 if picture or static else info.frames_estimate,
        change=change,
        notes=_notes(info),
    )


def _notes(info: video_reader.VideoInfo) -> tuple[str, ...]:
    interlaced = (f"{info.path} is interlaced: its combs were removed",) if info.interlaced else ()
    beside = (f"{info.path}: not kept: {', '.join(info.beside)}",) if info.beside else ()
    return (*interlaced, *beside)


def is_picture(info: video_reader.VideoInfo) -> bool:
    """Whether a file is a single image and not a moving picture."""
    if info.frames_estimate > 1 or info.has_audio:
        return False
    with contextlib.closing(video_reader.read_frames(info.path)) as frames:  # headers may not tell
        return len(list(itertools.islice(frames, 2))) == 1


def even_times(times: Sequence[Fraction], frame_rate: Fraction) -> tuple[Fraction, ...]:
    """Times without their container's rounding: i / frame_rate where all are that, but for 1 ms."""
    even = tuple(i / frame_rate for i in range(len(times)))
    if all(abs(a - b) <= _CLOCK_ERROR for a, b in zip(times, even, strict=True)):
        return even
    return tuple(times)


class Player:
    """Frames of a source by number, in any order, while few are held in memory.

    Going forward reads on; going backward is served from what is held, then from a seek and one
    more stretch of reading.
    """

    def __init__(self, source: Source, times: Sequence[Fraction], memory: int = MEMORY) -> None:
        """Starts at the first frame.

        Args:
            source: where to read.
            times: when each frame is shown, as reading told.
            memory: bytes of frames to hold.
        """
        width, height = source.size
        self._source, self._times = source, times
        self._held: deque[np.ndarray] = deque(maxlen=max(2, memory // (3 * width * height)))
        self._frames: Generator[Frame, None, None] | None = None
        self._open(0)

    def __getitem__(self, number: int) -> np.ndarray:
        """Frame `number`, uint8 RGB (height, width, 3); don't write into it.

        Raises:
            ValueError: the file isn't what it was when it was first read.
        """
        first = self._next - len(self._held)
        if number < first:
            self._open(max(0, number + 1 - self._held.maxlen))
        while self._next <= number:
            self._read()
        return self._held[number - self._next]

    def close(self) -> None:
        """Closes the file."""
        if self._frames is not None:
            self._frames.close()

    def _open(self, number: int) -> None:
        self.close()
        self._frames = self._source.frames(self._times[number] if number else None)
        self._held.clear()
        self._next, self._sought = number, number > 0

    def _read(self) -> None:
        frame = next(self._frames, None)
        if frame is not None and frame.time == self._times[self._next]:
            self._held.append(frame.image)
            self._next += 1
            return
        if not self._sought:
            raise ValueError(f"{self._source.path} changed while it was being read")
        # Times after a seek differ in some damaged or clockless files: count from the start.
        wanted = self._next
        self._open(0)
        while self._next < wanted:
            self._read()
