"""Media files: opening them, decoding their streams on one exact clock.

Both audio.py and video.py read through here, so that sound and picture share their zero. Times are
`fractions.Fraction` seconds.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator, Mapping
from fractions import Fraction
from numbers import Rational
from pathlib import Path

import av
import numpy as np

_JITTER = Fraction(1, 20)  # seconds by which timestamps may stray from the sample count
# What unnamed channels (plain WAV and AVI) are taken for, as FFmpeg and players do.
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_RATES = range(4_000, 768_001)  # samples a second that any recorder or codec has
_BACKWARD = Fraction(1)  # a clock that jumps back further than this has restarted


def open_container(path: str | os.PathLike) -> av.container.InputContainer:
    """Opens a media file for reading; close it, or use it in a `with`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder, empty, or in no format FFmpeg knows.
    """
    file = Path(path)
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist; check the path")
    if file.is_dir():
        raise ValueError(f"{file} is a folder; name one audio or video file in it")
    if file.stat().st_size == 0:
        raise ValueError(f"{file} is empty; copy or download it again")
    try:
        # The prefix keeps names such as `-a.mp4` and `a:b.mp4` from being read as anything else.
        return av.open(f"file:{file}")
    except av.error.FFmpegError as error:
        raise ValueError(
            f"{file} cannot be read as audio or video ({error.strerror}); it may be damaged or "
            "cut short: convert it with another program, or download it again"
        ) from error


def rational(number: Rational | None) -> Fraction | None:
    """An exact number of PyAV's as a Fraction; None where FFmpeg left it unset.

    PyAV 18 has fractions and None, PyAV 19 a class of its own in which 0/1 and 1/0 mean unset.
    """
    return Fraction(number.numerator, number.denominator) if number else None


def tags(container: av.container.Container) -> dict[str, str]:
    """The container's metadata; what is not UTF-8, as old recorders write, is left out."""
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


def video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The container's moving picture; cover art of a song, or what has no decoder, is none."""
    for stream in container.streams.video:
        if stream.codec_context and not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    return None


def open_video(path: str | os.PathLike) -> av.container.InputContainer:
    """Opens a file that has a picture.

    Raises:
        FileNotFoundError, ValueError: see `open_container`; or there is no picture.
    """
    container = open_container(path)
    if video_stream(container) is None:
        container.close()
        raise ValueError(f"{path} has no picture; name a video or an image file")
    return container


def audio_stream(container: av.container.InputContainer, path: str | os.PathLike) -> av.AudioStream:
    """The container's best sound.

    Raises:
        ValueError: it has none, or none that can be decoded.
    """
    stream = container.streams.best("audio")
    if stream is None:
        raise ValueError(f"{path} has no audio stream; name a file with sound")
    if stream.codec_context is None:
        raise ValueError(
            f"{path}: its audio is in a codec that FFmpeg does not know; convert it to another one"
        )
    return stream


def decode_packets(
    container: av.container.InputContainer, stream: av.stream.Stream, path: str | os.PathLike
) -> Iterator[av.frame.Frame]:
    """Yields every decodable frame of one stream; warns once, with a count, about the rest."""
    frames = _decode(container, stream, path)
    return _count_up(frames, stream) if is_untimed(container, stream) else frames


def is_untimed(container: av.container.InputContainer, stream: av.stream.Stream) -> bool:
    """Whether a file only has its frames in order: AVI has no times, and FFmpeg's guess is wrong.

    Decoding such a stream gives right times from its beginning alone.
    """
    return container.format.name == "avi" and stream.type == "video"


def _count_up(frames: Iterator[av.VideoFrame], stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    first = None
    for frame in frames:
        first = frame.dts if first is None else first
        known = None not in (frame.dts, first)
        frame.pts = frame.dts - first + (stream.start_time or 0) if known else None
        yield frame


def _decode(
    container: av.container.InputContainer, stream: av.stream.Stream, path: str | os.PathLike
) -> Iterator[av.frame.Frame]:
    damaged, packets = 0, container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:  # the file ends in the middle of a packet
            damaged, packets, packet = damaged + 1, iter(()), None
        try:
            yield from stream.decode(packet)  # None flushes the decoder
        except av.error.EOFError:  # it had been flushed already, by the file's last packet
            pass
        except av.error.FFmpegError:
            damaged += 1
        if packet is None:
            break
    if damaged:
        warnings.warn(f"{path}: {damaged} damaged {stream.type} packets were skipped", stacklevel=2)


def frame_time(frame: av.frame.Frame) -> Fraction | None:
    """A decoded frame's exact time in seconds of the container's clock; None if it has none."""
    tick = rational(frame.time_base)
    return None if frame.pts is None or tick is None else frame.pts * tick


def first_frame(
    container: av.container.InputContainer, stream: av.stream.Stream, path: str | os.PathLike
) -> tuple[av.frame.Frame, Fraction]:
    """Decodes the first frame of a stream of a container just opened.

    Returns:
        The frame, and when it is presented, seconds of the container's clock.

    Raises:
        ValueError: nothing in the stream can be decoded.
    """
    frame = next(decode_packets(container, stream, path), None)
    if frame is None:
        raise ValueError(f"{path}: nothing in its {stream.type} stream can be decoded")
    time = frame_time(frame)
    if time is None:
        time = (stream.start_time or 0) * Fraction(rational(stream.time_base) or 0)
    return frame, time


def origin(path: str | os.PathLike) -> Fraction | None:
    """The moment of a file's clock that is time 0 here: when its first picture is shown.

    Returns:
        Seconds of the container's clock, or None where the file has no moving picture.

    Raises:
        FileNotFoundError, ValueError: see `open_container` and `first_frame`.
    """
    with open_container(path) as container:
        stream = video_stream(container)
        return None if stream is None else first_frame(container, stream, path)[1]


def duration(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction | None:
    """Seconds of picture as the header tells, None where it does not."""
    tick = rational(stream.time_base)
    if stream.duration is not None and tick is not None:
        return stream.duration * tick
    return None if container.duration is None else Fraction(container.duration, 1_000_000)


def frame_rate(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction:
    """Frames a second: the container's clock if the frames keep to it, else the average."""
    average, clock = rational(stream.average_rate), rational(stream.base_rate)
    if average is None or clock is None:
        return average or clock or Fraction(25)
    seconds = duration(container, stream) or 0
    near = abs(clock - average) < average / 100
    # Headers count the last frame's duration differently: under half a frame means nothing.
    return clock if near and abs(clock - average) * seconds < Fraction(1, 2) else average


class SampleStream:
    """The samples of a file's best audio stream, in pieces, placed by their timestamps.

    Sample 0 sounds at `start`; what sounded earlier is cut, missing stretches (a late start, lost
    packets) are silence, so sample n always sounds n / rate seconds after `start`. Encoder priming
    is dropped by the decoder.

    Attributes:
        rate: samples a second.
        channels: number of channels.
        layout: FFmpeg's name for them, e.g. `stereo`; empty where they are more than eight and the
            file does not name them.

    Iterating, once, yields float32 (samples, channels), full scale 1.
    """

    def __init__(self, path: str | os.PathLike, start: Fraction | None = None):
        """Opens the file.

        Args:
            path: any container FFmpeg reads.
            start: seconds of the container's clock at which sample 0 sounds; None means where the
                audio itself starts.

        Raises:
            FileNotFoundError, ValueError: see `open_container`; or there is no audio stream, or its
                sample rate is implausible.
        """
        self.path, self.start = path, start
        self._container = open_container(path)
        self._stream = audio_stream(self._container, path)
        context = self._stream.codec_context
        self.rate, self.channels = context.sample_rate, context.layout.nb_channels
        if self.rate not in _RATES:
            self._container.close()
            raise ValueError(
                f"{path} claims a sample rate of {self.rate} Hz, none between {_RATES[0]} and "
                f"{_RATES[-1]} Hz; it may be damaged: convert it with another program, or download "
                "it again"
            )
        named = not context.layout.name.endswith("channels")
        self.layout = context.layout.name if named else _LAYOUTS.get(self.channels, "")

    def __iter__(self) -> Iterator[np.ndarray]:
        start, position, skew = self.start, 0, 0
        length = self._container.duration  # microseconds, or None
        limit = 0 if length is None else length * self.rate // 1_000_000 + self.rate
        jitter, backward = int(_JITTER * self.rate), int(_BACKWARD * self.rate)
        with self._container:
            for frame in decode_packets(self._container, self._stream, self.path):
                samples, time = self._samples(frame), frame_time(frame)
                if start is None:
                    start = time
                gap = 0
                if time is not None:
                    gap = round((time - start) * self.rate) + skew - position
                if position and (gap > limit - position or gap < -backward):
                    skew, gap = skew - gap, 0  # the clock was reset here: simply go on
                if gap > (jitter if position else 0):
                    yield np.zeros((gap, self.channels), np.float32)
                    position += gap
                elif gap < (-jitter if position else 0):
                    samples = samples[-gap:]
                if len(samples):
                    yield samples
                    position += len(samples)

    def _samples(self, frame: av.AudioFrame) -> np.ndarray:
        channels = frame.layout.nb_channels
        if (frame.sample_rate, channels) != (self.rate, self.channels):
            raise ValueError(
                f"{self.path} changes from {self.channels} channels at {self.rate} Hz to {channels}"
                f" at {frame.sample_rate} Hz half-way; convert its audio to one format first"
            )
        data = frame.to_ndarray()
        data = data.T if frame.format.is_planar else data.reshape(-1, channels)
        if data.dtype == np.uint8:
            return (data.astype(np.float32) - 128) / 128
        if data.dtype.kind == "i":
            return data.astype(np.float32) / -float(np.iinfo(data.dtype).min)
        return data.astype(np.float32)
