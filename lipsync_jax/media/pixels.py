"""From decoded frames to the RGB images that are to be shown.

Colours, interlacing, transparency, sizes that change and orientation are settled here.
"""

import itertools
from collections.abc import Iterator
from typing import cast

import av
import av.filter
import cv2
import numpy as np
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from lipsync_jax.media.still_images import GROUND
from lipsync_jax.types import Native

# Without these two, FFmpeg's quick conversion brightens every pixel by one step.
EXACT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
UNTAGGED = 2  # "unspecified" in ITU-T H.273, of primaries, transfer function and matrix alike
_HD_ROWS = 720  # from here on an untagged picture is taken as BT.709, below as BT.601


def guessed_matrix(rows: int) -> int:
    """The matrix of an untagged picture as players guess it: BT.709 (1) for HD, else BT.601 (6)."""
    return 1 if rows >= _HD_ROWS else 6


def deinterlaced(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """The same frames, those that are flagged as interlaced without their combs; times stay.

    Each missing line is made of its neighbours in the frame and in those before and after (FFmpeg's
    bwdif). Progressive frames pass through untouched.
    """
    previous: av.VideoFrame | None = None
    for frame in frames:
        if frame.interlaced_frame:
            first = [frame] if previous is None else [previous, frame]
            yield from _filtered(itertools.chain(first, frames), skip=previous is not None)
            return
        yield frame
        previous = frame


def _filtered(frames: Iterator[av.VideoFrame], skip: bool) -> Iterator[av.VideoFrame]:
    """Frames through a filter, which is made anew where their size or format changes."""
    for _, alike in itertools.groupby(frames, lambda f: (f.width, f.height, f.format.name)):
        graph = None
        for frame in alike:
            if graph is None:
                graph = _graph(frame)
            graph.vpush(frame)
            for out in _pulled(graph):
                if not skip:
                    yield out
                skip = False
        graph.vpush(None)
        for out in _pulled(graph):
            if not skip:
                yield out
            skip = False


def _graph(frame: av.VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    bwdif = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    return graph


def _pulled(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


class Shown:
    """Turns one stream's decoded frames into the RGB images that are to be shown."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None  # of the first frame; later ones are fitted in

    def fit(self, first: av.VideoFrame) -> None:
        """Takes the size of all images from a frame."""
        self._size = first.width, first.height

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """A frame as uint8 RGB (height, width, 3), of the size of the first one.

        Transparent pixels show a plain ground. A frame of another shape is fitted between black
        bars.
        """
        if self._size is None:
            self.fit(frame)
        size = _fitted((frame.width, frame.height), self._size)
        image = self._convert(frame, size)
        if size != self._size:
            image = _letterboxed(image, self._size)
        return _oriented(image, frame)

    def _convert(self, frame: av.VideoFrame, size: tuple[int, int]) -> np.ndarray:
        width, height = size
        guess = Colorspace.ITU709 if guessed_matrix(frame.height) == 1 else Colorspace.ITU601
        untagged = frame.colorspace == UNTAGGED and not frame.format.is_rgb
        clear = frame.format.name in ("pal8", "ya8", "ya16be", "ya16le") or any(
            component.is_alpha for component in frame.format.components
        )
        planar = self._reformatter.reformat(
            frame,
            width,
            height,
            "gbrap" if clear else "gbrp",  # planes: three times as fast as packed pixels
            src_colorspace=guess if untagged else None,
            interpolation=Interpolation.BILINEAR | EXACT,
        )
        green, blue, red, *alpha = (
            np.frombuffer(cast(Native, plane), np.uint8).reshape(height, plane.line_size)[:, :width]
            for plane in planar.planes
        )
        image = cv2.merge((red, green, blue))
        if alpha and alpha[0].min() < 255:
            part = alpha[0][..., None].astype(np.uint16)
            image = ((image * part + GROUND * (255 - part) + 127) // 255).astype(np.uint8)
        return image


def _fitted(own: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int]:
    """The largest size of the same shape that fits, whole pixels."""
    scale = min(wanted[0] / own[0], wanted[1] / own[1])
    width, height = (max(1, min(w, round(o * scale))) for o, w in zip(own, wanted, strict=True))
    return width, height


def _letterboxed(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    left, top = (width - image.shape[1]) // 2, (height - image.shape[0]) // 2
    framed = np.zeros((height, width, 3), np.uint8)
    framed[top : top + image.shape[0], left : left + image.shape[1]] = image
    return framed


def _oriented(image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    try:
        data: Native = frame.side_data  # by names that PyAV's annotations leave out
        matrix = np.frombuffer(data["DISPLAYMATRIX"], "<i4")
    except KeyError:
        return image
    except ValueError:  # PyAV 18 refuses all side data of a frame that has some it doesn't know
        return np.ascontiguousarray(np.rot90(image, frame.rotation // 90))
    return _orient(image, matrix)


def _orient(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Applies a display matrix, (x, y) -> (a·x + c·y, b·x + d·y), to the nearest quarter turn."""
    a, b, c, d = (int(matrix[i]) for i in (0, 1, 3, 4))
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.swapaxes(0, 1), c, b
    image = image[:, ::-1] if a < 0 else image
    image = image[::-1] if d < 0 else image
    return np.ascontiguousarray(image)
