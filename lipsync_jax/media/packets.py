"""Decodes the streams of a media file on one exact clock.

samples.py, video_reader.py and mux.py read through this module, so that audio and video have a
common time 0. Times are `fractions.Fraction` seconds. Concatenated recordings, whose clock restarts
in the middle, are read on one continuous clock.
"""

import functools
import itertools
import os
import warnings
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av

from lipsync_jax.media import containers
from lipsync_jax.media.containers import rational
from lipsync_jax.types import Untyped

CONCATENABLE_FORMATS = frozenset({"mpegts", "mpeg", "ogg"})  # files can be joined byte for byte
_MAX_BACKWARD_JUMP = Fraction(1, 10)  # seconds; a larger jump back means that the clock restarted
_JUMPING_FORMATS = frozenset({"mpegts", "mpeg"})
_MAX_CLOCK_JUMP = 10  # seconds; a larger jump ahead in those formats means a restart too
_MAX_SILENT_PACKETS = 5  # more consecutive packets without samples count as lost
_MAX_ERRORS = 256  # consecutive unreadable packets after which a file counts as ended


class DecodeErrors:
    """Counts packets of a stream that could not be decoded.

    Attributes:
        packets: number of skipped packets.
        silent_seconds: duration of long runs of audio packets without samples.
    """

    def __init__(self) -> None:
        self.packets, self.silent_seconds = 0, Fraction(0)
        self._run_length, self._packet_duration = 0, Fraction(0)

    def record_decoded(self, frames: Sequence[av.AudioFrame]) -> None:
        """Records the frames of an audio packet; the first packets of a stream may have none."""
        if not frames:
            self._run_length += 1
            return
        self._packet_duration = max(
            self._packet_duration, Fraction(frames[0].samples, frames[0].sample_rate)
        )
        self.end_run()

    def end_run(self) -> None:
        """Ends a run of packets without samples."""
        if self._run_length > _MAX_SILENT_PACKETS:
            self.packets += self._run_length
            self.silent_seconds += self._run_length * self._packet_duration
        self._run_length = 0


class Packets:
    """The packets of some streams of a file, on a clock that is continuous at joins.

    Unreadable packets are skipped and counted. Iterating, once, yields packets, at the end an empty
    one of each stream.
    """

    def __init__(
        self,
        container: av.container.InputContainer,
        streams: Sequence[av.stream.Stream],
        path: str | os.PathLike,
        damage: DecodeErrors | None = None,
    ) -> None:
        """Reads no packets yet, except for the joins in concatenable formats."""
        self._container, self._streams, self._path = container, streams, path
        self._damage, self._shifts = damage or DecodeErrors(), clock_shifts(container, path)

    def __iter__(self) -> Iterator[av.Packet]:
        segments = {stream.index: _SegmentCounter(self._container) for stream in self._streams}
        for packet in _readable(self._container, self._streams, self._path, self._damage):
            tick = rational(packet.time_base)
            if self._shifts and tick and packet.dts is not None:
                segment = segments[packet.stream.index].segment_index(packet, tick)
                shift = round(self._shifts[min(segment, len(self._shifts) - 1)] / tick)
                packet.dts += shift
                packet.pts = None if packet.pts is None else packet.pts + shift
            yield packet


def _readable(
    container: av.container.InputContainer,
    streams: Sequence[av.stream.Stream],
    path: str | os.PathLike,
    damage: DecodeErrors,
) -> Iterator[av.Packet]:
    errors, packets = 0, container.demux(*streams)
    while errors < _MAX_ERRORS:
        try:
            packet = next(packets, None)
        except av.error.PatchWelcomeError as error:
            raise ValueError(
                f"{path} changes half-way in a way that can't be decoded, e.g. its number of "
                "channels; convert it to one format with another program first"
            ) from error
        except av.error.FFmpegError:  # damaged here, or the file ends within a packet
            damage.packets += not errors
            errors, packets = errors + 1, container.demux(*streams)
            continue
        if packet is None:
            return
        errors = 0
        yield packet


class _SegmentCounter:
    """Counts the joined recordings that the packets of a stream belong to."""

    def __init__(self, container: av.container.InputContainer) -> None:
        self._max_jump = _MAX_CLOCK_JUMP if container.format.name in _JUMPING_FORMATS else None
        self._previous: Fraction | None = None
        self.last_segment = 0

    def segment_index(self, packet: av.Packet, tick: Fraction) -> int:
        time, before = packet.dts * tick, self._previous
        if before is not None:
            jumps = self._max_jump is not None and time - before > self._max_jump
            self.last_segment += time - before < -_MAX_BACKWARD_JUMP or jumps
        self._previous = time
        return self.last_segment


def clock_shifts(
    container: av.container.InputContainer, path: str | os.PathLike
) -> tuple[Fraction, ...]:
    """Returns the seconds to add to the clocks of concatenated recordings.

    Args:
        container: the opened file.
        path: of the file; in concatenable formats the file is read once and again after changes.

    Returns:
        One number for each recording, the first 0; empty for a file whose clock never restarts.
    """
    if container.format.name not in CONCATENABLE_FORMATS:
        return ()
    stat = os.stat(path)
    return _clock_shifts(os.fspath(path), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _clock_shifts(path: str, size: int, modified: int) -> tuple[Fraction, ...]:
    del size, modified  # keys of the cache: the file may change
    with containers.open_container(path) as container:
        best = containers.video_stream(container), containers.main_audio(container)
        streams = [stream for stream in best if stream is not None]
        segments = {stream.index: _SegmentCounter(container) for stream in streams}
        spans: list[list[Fraction]] = []  # begin and end of each recording on its own clock
        for packet in _readable(container, streams, path, DecodeErrors()):
            tick = rational(packet.time_base)
            if packet.dts is None or not tick:
                continue
            index = segments[packet.stream.index].segment_index(packet, tick)
            time = (packet.dts if packet.pts is None else packet.pts) * tick
            end = time + (packet.duration or 0) * tick
            spans += [[time, end]] if index == len(spans) else []
            spans[index] = [min(spans[index][0], time), max(spans[index][1], end)]
    if len({segment.last_segment for segment in segments.values()}) > 1:
        return ()  # only one stream's clock is damaged: streams stay independent
    shifts = [Fraction(0)]
    for (_, end), (begin, _) in itertools.pairwise(spans):
        shifts.append(shifts[-1] + end - begin)
    return tuple(shifts) if len(spans) > 1 else ()


def decode_packets(
    container: av.container.InputContainer,
    stream: av.stream.Stream,
    path: str | os.PathLike,
    damage: DecodeErrors | None = None,
) -> Iterator[Untyped]:
    """Yields every decodable frame of one stream, of the class for its type.

    Args:
        container: the opened file.
        stream: of the container.
        path: of the file, for messages.
        damage: counts packets that can't be decoded; None warns once instead.
    """
    frames = _decode(container, stream, path, damage)
    return _count_up(frames, stream) if is_untimed(container, stream) else frames


def is_untimed(container: av.container.InputContainer, stream: av.stream.Stream) -> bool:
    """Returns whether a stream has no presentation times: AVI, where FFmpeg's guess is wrong.

    Decoding such a stream gives right times only from its beginning.
    """
    return container.format.name == "avi" and stream.type == "video"


def _count_up(frames: Iterator[av.VideoFrame], stream: av.stream.Stream) -> Iterator[av.VideoFrame]:
    first = None
    for frame in frames:
        first = frame.dts if first is None else first
        has_dts = None not in (frame.dts, first)
        frame.pts = frame.dts - first + (stream.start_time or 0) if has_dts else None
        yield frame


def _decode(
    container: av.container.InputContainer,
    stream: Untyped,  # audio or video: PyAV's common class has no decode()
    path: str | os.PathLike,
    damage: DecodeErrors | None,
) -> Iterator[Untyped]:
    warn_of_damage, damage = damage is None, damage or DecodeErrors()
    for packet in itertools.chain(Packets(container, [stream], path, damage), [None]):
        try:
            frames = stream.decode(packet)  # None flushes the decoder
        except av.error.EOFError:  # already flushed by the file's last packet
            continue
        except av.error.FFmpegError:
            damage.packets += 1
            continue
        if stream.type == "audio" and packet is not None and packet.size and not packet.is_discard:
            damage.record_decoded(frames)
        yield from frames
    damage.end_run()
    if warn_of_damage and damage.packets:
        warnings.warn(
            f"{path}: {damage.packets} damaged {stream.type} packets were skipped", stacklevel=2
        )


def frame_time(frame: av.frame.Frame) -> Fraction | None:
    """Returns a frame's exact time in seconds of the container's clock; None without one."""
    tick = rational(frame.time_base)
    return None if frame.pts is None or tick is None else frame.pts * tick


def frame_times(path: str | os.PathLike) -> tuple[Fraction, ...]:
    """Reads the times of a video's frames from its packets, without decoding them.

    Returns:
        Seconds from the first frame, ascending, one for each packet with a time.

    Raises:
        FileNotFoundError, ValueError: see `containers.open_video`.
    """
    with containers.open_video(path) as container:
        stream = containers.video_stream(container)
        tick = rational(stream.time_base) or Fraction(0)
        read = Packets(container, [stream], path)
        times = sorted(packet.pts for packet in read if packet.size and packet.pts is not None)
    return tuple((time - times[0]) * tick for time in times)


def audio_end(path: str | os.PathLike) -> Fraction | None:
    """Reads when a file's main audio ends, from its packets, without decoding them.

    Returns:
        Seconds of the container's clock, or None for a file without audio.

    Raises:
        FileNotFoundError, ValueError: see `containers.open_container`.
    """
    with containers.open_container(path) as container:
        stream = containers.main_audio(container)
        if stream is None:
            return None
        tick = rational(stream.time_base) or Fraction(0)
        read = Packets(container, [stream], path)
        ends = (p.pts + (p.duration or 0) for p in read if p.size and p.pts is not None)
        return max(ends, default=0) * tick


def first_frame(
    container: av.container.InputContainer, stream: av.stream.Stream, path: str | os.PathLike
) -> tuple[Untyped, Fraction]:
    """Decodes the first frame of a stream of a container just opened.

    Returns:
        The frame and its presentation time, seconds of the container's clock.

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


def video_start_time(path: str | os.PathLike) -> Fraction | None:
    """Returns the time of a file's first video frame, which is time 0 in this package.

    Returns:
        Seconds of the container's clock, or None for a file without video.

    Raises:
        FileNotFoundError, ValueError: see `containers.open_container` and `first_frame`.
    """
    with containers.open_container(path) as container:
        stream = containers.video_stream(container)
        return None if stream is None else first_frame(container, stream, path)[1]
