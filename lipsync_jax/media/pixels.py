"""Converts decoded frames to RGB images.

Handles colour conversion, deinterlacing, transparency, changing sizes and orientation.
"""

import itertools
from collections.abc import Iterator

import av
import av.filter
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from lipsync_jax.media import planar
from lipsync_jax.media.image_files import BACKGROUND
from lipsync_jax.types import Untyped

# Without these flags, FFmpeg's fast conversion brightens every pixel by one.
EXACT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
UNTAGGED = 2  # "unspecified" in ITU-T H.273, of primaries, transfer function and matrix alike
_HD_HEIGHT = 720  # untagged video of this height or more is BT.709, below BT.601


def default_matrix(rows: int) -> int:
    """Returns the matrix that players assume without tags: BT.709 (1) for HD, else BT.601 (6)."""
    return 1 if rows >= _HD_HEIGHT else 6


def deinterlace(frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Deinterlaces frames that are flagged as interlaced; times are unchanged.

    Missing lines are interpolated in space and time (FFmpeg's bwdif). Progressive frames pass
    unchanged.
    """
    previous: av.VideoFrame | None = None
    for frame in frames:
        if frame.interlaced_frame:
            first = [frame] if previous is None else [previous, frame]
            yield from _run_filter(itertools.chain(first, frames), skip=previous is not None)
            return
        yield frame
        previous = frame


def _run_filter(frames: Iterator[av.VideoFrame], skip: bool) -> Iterator[av.VideoFrame]:
    """Filters frames with a graph for each size and format."""
    for _, same_format in itertools.groupby(frames, lambda f: (f.width, f.height, f.format.name)):
        graph = None
        for frame in same_format:
            if graph is None:
                graph = _deinterlace_graph(frame)
            graph.vpush(frame)
            for out in _drain(graph):
                if not skip:
                    yield out
                skip = False
        graph.vpush(None)
        for out in _drain(graph):
            if not skip:
                yield out
            skip = False


def _deinterlace_graph(frame: av.VideoFrame) -> av.filter.Graph:
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


def _drain(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


class FrameConverter:
    """Converts one stream's decoded frames to RGB images of one size."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None  # of the first frame; others are letterboxed

    def set_size(self, first: av.VideoFrame) -> None:
        """Sets the size of all images to that of a frame."""
        self._size = first.width, first.height

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """Converts a frame to uint8 RGB (height, width, 3), of the size of the first frame.

        Transparent pixels show a plain background. Frames of another aspect ratio are letterboxed.
        """
        if self._size is None:
            self.set_size(frame)
        size = _fit_size((frame.width, frame.height), self._size)
        image = self._convert(frame, size)
        if size != self._size:
            image = _letterbox(image, self._size)
        return _apply_orientation(image, frame)

    def keep_planes(self, frame: av.VideoFrame) -> planar.Image:
        """Returns a frame without conversion where its format allows, else as `__call__` does."""
        if self._size is None:
            self.set_size(frame)
        matrix = default_matrix(frame.height) if frame.colorspace == UNTAGGED else frame.colorspace
        if (
            frame.format.name != planar.FORMAT
            or (frame.width, frame.height) != self._size
            or frame.width % 2
            or frame.height % 2
            or frame.color_range == ColorRange.JPEG
            or matrix not in planar.MATRICES
            or _has_orientation(frame)
        ):
            return self(frame)
        return planar.PlanarImage.from_frame(frame, matrix)

    def _convert(self, frame: av.VideoFrame, size: tuple[int, int]) -> np.ndarray:
        width, height = size
        default = Colorspace.ITU709 if default_matrix(frame.height) == 1 else Colorspace.ITU601
        untagged = frame.colorspace == UNTAGGED and not frame.format.is_rgb
        has_alpha = frame.format.name in ("pal8", "ya8", "ya16be", "ya16le") or any(
            component.is_alpha for component in frame.format.components
        )
        converted = self._reformatter.reformat(
            frame,
            width,
            height,
            "gbrap" if has_alpha else "gbrp",  # planar: three times as fast as packed
            src_colorspace=default if untagged else None,
            interpolation=Interpolation.BILINEAR | EXACT,
        )
        green, blue, red, *alpha = map(planar.plane_array, converted.planes)
        image = cv2.merge((red, green, blue))
        if alpha and alpha[0].min() < 255:
            opacity = alpha[0][..., None].astype(np.uint16)
            image = ((image * opacity + BACKGROUND * (255 - opacity) + 127) // 255).astype(np.uint8)
        return image


def _fit_size(source_size: tuple[int, int], target_size: tuple[int, int]) -> tuple[int, int]:
    """Returns the largest size of that aspect ratio that fits, in whole pixels."""
    scale = min(target_size[0] / source_size[0], target_size[1] / source_size[1])
    width, height = (
        max(1, min(w, round(o * scale))) for o, w in zip(source_size, target_size, strict=True)
    )
    return width, height


def _letterbox(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    left, top = (width - image.shape[1]) // 2, (height - image.shape[0]) // 2
    framed = np.zeros((height, width, 3), np.uint8)
    framed[top : top + image.shape[0], left : left + image.shape[1]] = image
    return framed


def _apply_orientation(image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    try:
        data: Untyped = frame.side_data  # keys that PyAV's annotations lack
        matrix = np.frombuffer(data["DISPLAYMATRIX"], "<i4")
    except KeyError:
        return image
    except ValueError:  # PyAV 18 refuses a frame's side data if one kind is unknown
        return np.ascontiguousarray(np.rot90(image, frame.rotation // 90))
    return _orient(image, matrix)


def _has_orientation(frame: av.VideoFrame) -> bool:
    try:
        data: Untyped = frame.side_data
        return data.get("DISPLAYMATRIX") is not None
    except (KeyError, ValueError):  # see `_apply_orientation`
        return frame.rotation != 0


def _orient(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Applies a display matrix, (x, y) -> (a·x + c·y, b·x + d·y), to the nearest quarter turn."""
    a, b, c, d = (int(matrix[i]) for i in (0, 1, 3, 4))
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.swapaxes(0, 1), c, b
    image = image[:, ::-1] if a < 0 else image
    image = image[::-1] if d < 0 else image
    return np.ascontiguousarray(image)
