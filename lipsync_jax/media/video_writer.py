"""Encodes frames into a video file, one at a time, with exact times and the audio of a file.

Images are uint8 RGB (height, width, 3).
"""

import os
from collections.abc import Mapping
from fractions import Fraction
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from lipsync_jax.media import containers
from lipsync_jax.media.mux import Output
from lipsync_jax.media.pixels import EXACT, UNTAGGED, default_matrix
from lipsync_jax.media.planar import Image, PlanarImage

# FFmpeg's conversions for the matrices of ITU-T H.273; other frames are stored with BT.709.
_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}
_MIN_TICKS_PER_SECOND = 90_000  # of the output's time base


class VideoWriter:
    """Encodes frames one by one, with the audio of a file.

    The file is written under a temporary name and renamed when complete; if the `with` block
    fails, no file is left. An odd width or height is padded with a copy of the last column or row,
    since 4:2:0 colour needs even sizes; frames are neither cropped nor resized. Colours are stored
    in limited range, with the given matrix and tags, and otherwise unchanged. The video lasts
    exactly the durations of its frames.

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
        colours: tuple[int, int, int] = (1, 1, 1),
        metadata: Mapping[str, str] | None = None,
        audio: str | os.PathLike | None = None,
        copy_audio: bool = True,
        shortest: bool = False,
    ) -> None:
        """Opens the output.

        Args:
            path: .mp4, .m4v, .mov or .mkv; its folder is created if missing. Matroska rounds times
                to milliseconds.
            frame_rate: frames a second, exact (`Fraction(30000, 1001)`).
            size: (width, height) of the frames.
            codec: FFmpeg's name of an encoder.
            crf: constant rate factor, lower is better; None for encoders without crf.
            preset: of speed; None for encoders without presets.
            lossless: store RGB exactly (libx264rgb), with odd sizes; few players support it.
            pixel_aspect: width of a pixel over its height (`VideoInfo.pixel_aspect`).
            colours: primaries, transfer function and matrix of the frames (`VideoInfo.colours`). 2
                leaves them untagged; the matrix is then the one that players assume for the size.
            metadata: tags of the file, e.g. {"title": ...}.
            audio: a file with the audio: time 0 is its first video frame or, without video, its
                first sample.
            copy_audio: copy the encoded audio where the container allows; else encode AAC.
            shortest: end the audio with the video.

        Raises:
            FileNotFoundError: there is no such audio file.
            ValueError: the suffix, the size, the encoder, its options or the audio cannot be used.
        """
        width, height = size
        self.frame_rate, self.size, self.frames = Fraction(frame_rate), (width, height), 0
        if width < 1 or height < 1 or self.frame_rate <= 0:
            raise ValueError(f"{path}: size {size} at {frame_rate} frames a second is no video")
        self._lossless, self._shortest = lossless, shortest
        self._output = Output(path, metadata)
        try:
            self._stream = self._output.add_video(
                "libx264rgb" if lossless else codec,
                self.frame_rate,
                {"qp": "0"} if lossless else {} if crf is None else {"crf": str(crf)},
                preset,
            )
            self._configure(self._stream.codec_context, Fraction(pixel_aspect), colours)
            if audio is not None:
                self._output.add_audio(audio, copy_audio)
            self._output.start()
        except BaseException:
            self._output.abort()
            raise
        self._tick = containers.rational(self._stream.codec_context.time_base)
        self._pending_frame: av.VideoFrame | None = (
            None  # until the next frame, which ends its duration
        )
        self._durations: dict[int, int] = {}  # by time, for the encoded packets

    def _configure(
        self, context: av.VideoCodecContext, pixel_aspect: Fraction, colours: tuple[int, int, int]
    ) -> None:
        width, height = self.size
        exact = self._lossless
        context.width, context.height = (width, height) if exact else _even(width, height)
        context.pix_fmt = "rgb24" if exact else "yuv420p"
        context.sample_aspect_ratio = pixel_aspect
        context.max_b_frames = 0  # reordering makes MP4's durations wrong where times are uneven
        # A time base fine enough for uneven times, in which even times are integers.
        ticks = self.frame_rate.numerator
        context.time_base = Fraction(1, ticks * -(-_MIN_TICKS_PER_SECOND // ticks))
        context.color_primaries, context.color_trc, matrix = colours
        matrix = matrix if matrix in (*_MATRICES, UNTAGGED) else 1
        context.colorspace = 0 if exact else matrix
        self._matrix = _MATRICES[default_matrix(context.height) if matrix == UNTAGGED else matrix]
        context.color_range = int(ColorRange.JPEG if exact else ColorRange.MPEG)

    def write(self, image: Image, time: Fraction | None = None) -> None:
        """Adds one frame.

        Args:
            image: uint8 (height, width, 3), RGB, of the writer's size; or in planes, which are
                encoded without conversion where their matrix is the output's.
            time: of the frame, seconds from time 0, for uneven rates (precise to 11 µs); None
                means `frames / frame_rate`.

        Raises:
            ValueError: the frame has another size or dtype, or is not later than the one before.
        """
        width, height = self.size
        dtype = np.uint8 if isinstance(image, PlanarImage) else image.dtype
        if image.shape != (height, width, 3) or dtype != np.uint8:
            raise ValueError(
                f"{self._output.path}: frame {self.frames} is {dtype} {image.shape}, "
                f"not uint8 {(height, width, 3)}"
            )
        pts = round((self.frames / self.frame_rate if time is None else time) / self._tick)
        frame = self._frame(image)
        frame.pts, frame.time_base = pts, self._tick
        if self._pending_frame is not None:
            if pts <= self._pending_frame.pts:
                raise ValueError(
                    f"{self._output.path}: frame {self.frames} at {float(pts * self._tick):.6f} s "
                    "is not later than the one before"
                )
            self._encode(pts - self._pending_frame.pts)
        self._pending_frame = frame
        self.frames += 1

    def _frame(self, image: Image) -> av.VideoFrame:
        if isinstance(image, PlanarImage):
            if not self._lossless and _MATRICES[image.matrix] == self._matrix:
                return image.to_frame()
            image = image.rgb()
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        return frame if self._lossless else _to_yuv(image, frame, self._matrix)

    def _encode(self, duration: int) -> None:
        self._pending_frame.duration = self._durations[self._pending_frame.pts] = duration
        self._mux(self._pending_frame)
        self._output.write_audio_until(self._pending_frame.pts * self._tick)

    def _mux(self, frame: av.VideoFrame | None) -> None:
        try:
            packets = self._stream.encode(frame)
        except av.error.FFmpegError as error:
            raise ValueError(
                f"{self._output.path}: the encoder failed at frame {self.frames} "
                f"({error.strerror}); try another codec or preset"
            ) from error
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts)
        self._output.mux(packets)

    def close(self) -> None:
        """Completes and renames the file.

        Raises:
            ValueError: no frame was written.
        """
        if self._pending_frame is None:
            self.abort()
            raise ValueError(f"{self._output.path}: no frame was written, so there is no video")
        try:
            last = round(1 / self.frame_rate / self._tick)
            self._encode(last)
            self._mux(None)
            end = (self._pending_frame.pts + last) * self._tick
            self._output.write_audio_until(end if self._shortest else None)
        except BaseException:
            self.abort()
            raise
        self._output.close()

    def abort(self) -> None:
        """Closes without leaving a file."""
        self._output.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close() if kind is None else self.abort()


def _even(width: int, height: int) -> tuple[int, int]:
    return width + width % 2, height + height % 2


def _to_yuv(rgb: np.ndarray, frame: av.VideoFrame, matrix: Colorspace) -> av.VideoFrame:
    height, width = rgb.shape[:2]
    if (width, height) != _even(width, height):
        padded = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(padded, format="rgb24")
    return frame.reformat(
        format="yuv420p",
        dst_colorspace=matrix,
        dst_color_range=ColorRange.MPEG,
        interpolation=Interpolation.BICUBIC | EXACT,
    )
