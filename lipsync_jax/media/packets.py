"""Decoding the streams of a media file on one exact clock.

samples.py, video.py and muxing.py read through here, so that sound and picture share their zero.
Times are `fractions.Fraction` seconds. Recordings that were joined end to end, whose clock starts
anew in the middle, are read on one clock that goes on.
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
from lipsync_jax.types import Native

JOINABLE = frozenset({"mpegts", "mpeg", "ogg"})  # formats whose files can be joined byte for byte
_RESTART = Fraction(1, 10)  # a clock that jumps back further than this has restarted
_LEAPING = frozenset({"mpegts", "mpeg"})
_LEAP = 10  # seconds; a clock of these that leaps further has restarted, too
_MUTE = 5  # packets in a row without sound that mean a loss
_MOST_ERRORS = 256  # unreadable packets in a row after which a file counts as ended


class Damage:
    """Counts what could not be read of a stream.

    Attributes:
        packets: that were skipped.
        mute: seconds of audio packets that gave no sound, where there are many in a row.
    """

    def __init__(self) -> None:
        self.packets, self.mute = 0, Fraction(0)
        self._row, self._usual = 0, Fraction(0)

    def heard(self, frames: Sequence[av.AudioFrame]) -> None:
        """Takes note of what an audio packet gave; the first ones of a stream may give nothing."""
        if not frames:
            self._row += 1
            return
        self._usual = max(self._usual, Fraction(frames[0].samples, frames[0].sample_rate))
        self.settle()

    def settle(self) -> None:
        """Ends a row of packets without sound."""
        if self._row > _MUTE:
            self.packets += self._row
            self.mute += self._row * self._usual
        self._row = 0


class Packets:
    """The packets of some streams of a file, on one clock that goes on where files were joined.

    A packet that can't be read is skipped and counted; what follows it is read. Iterating, once,
    yields packets, at the end an empty one of each stream.
    """

    def __init__(
        self,
        container: av.container.InputContainer,
        streams: Sequence[av.stream.Stream],
        path: str | os.PathLike,
        damage: Damage | None = None,
    ) -> None:
        """Reads nothing yet but, of formats that can be joined, where they were."""
        self._container, self._streams, self._path = container, streams, path
        self._damage, self._shifts = damage or Damage(), joins(container, path)

    def __iter__(self) -> Iterator[av.Packet]:
        pieces = {stream.index: _Piece(self._container) for stream in self._streams}
        for packet in _readable(self._container, self._streams, self._path, self._damage):
            tick = rational(packet.time_base)
            if self._shifts and tick and packet.dts is not None:
                number = pieces[packet.stream.index].number(packet, tick)
                shift = round(self._shifts[min(number, len(self._shifts) - 1)] / tick)
                packet.dts += shift
                packet.pts = None if packet.pts is None else packet.pts + shift
            yield packet


def _readable(
    container: av.container.InputContainer,
    streams: Sequence[av.stream.Stream],
    path: str | os.PathLike,
    damage: Damage,
) -> Iterator[av.Packet]:
    errors, packets = 0, container.demux(*streams)
    while errors < _MOST_ERRORS:
        try:
            packet = next(packets, None)
        except av.error.PatchWelcomeError as error:
            raise ValueError(
                f"{path} changes half-way in a way that can't be read, e.g. its number of "
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


class _Piece:
    """Tells which of several joined recordings the packets of a stream belong to."""

    def __init__(self, container: av.container.InputContainer) -> None:
        self._leap = _LEAP if container.format.name in _LEAPING else None
        self._previous: Fraction | None = None
        self.last = 0

    def number(self, packet: av.Packet, tick: Fraction) -> int:
        time, before = packet.dts * tick, self._previous
        if before is not None:
            leaps = self._leap is not None and time - before > self._leap
            self.last += time - before < -_RESTART or leaps
        self._previous = time
        return self.last


def joins(container: av.container.InputContainer, path: str | os.PathLike) -> tuple[Fraction, ...]:
    """What to add to the clocks of recordings that were joined end to end, seconds.

    Args:
        container: the file, opened; its format tells whether it can be a joined one.
        path: its name; of such a format it is read once, anew only when it has changed.

    Returns:
        One number for each recording, the first 0; empty for a file whose clock never restarts.
    """
    if container.format.name not in JOINABLE:
        return ()
    stat = os.stat(path)
    return _joins(os.fspath(path), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _joins(path: str, size: int, modified: int) -> tuple[Fraction, ...]:
    del size, modified  # they tell whether the file has changed
    with containers.open_container(path) as container:
        best = containers.video_stream(container), container.streams.best("audio")
        streams = [stream for stream in best if stream is not None]
        pieces = {stream.index: _Piece(container) for stream in streams}
        spans: list[list[Fraction]] = []  # begin and end of each recording by its own clock
        for packet in _readable(container, streams, path, Damage()):
            tick = rational(packet.time_base)
            if packet.dts is None or not tick:
                continue
            number = pieces[packet.stream.index].number(packet, tick)
            time = (packet.dts if packet.pts is None else packet.pts) * tick
            end = time + (packet.duration or 0) * tick
            spans += [[time, end]] if number == len(spans) else []
            spans[number] = [min(spans[number][0], time), max(spans[number][1], end)]
    if len({piece.last for piece in pieces.values()}) > 1:
        return ()  # one stream's clock alone is damaged: each goes on by itself
    shifts = [Fraction(0)]
    for (_, end), (begin, _) in itertools.pairwise(spans):
        shifts.append(shifts[-1] + end - begin)
    return tuple(shifts) if len(spans) > 1 else ()


def decode_packets(
    container: av.container.InputContainer,
    stream: av.stream.Stream,
    path: str | os.PathLike,
    damage: Damage | None = None,
) -> Iterator[Native]:
    """Yields every decodable frame of one stream, of the class that belongs to its type.

    Args:
        container: the file, opened.
        stream: which of its streams.
        path: its name, for messages.
        damage: counts the rest; without it, one warning does.
    """
    frames = _decode(container, stream, path, damage)
    return _count_up(frames, stream) if is_untimed(container, stream) else frames


def is_untimed(container: av.container.InputContainer, stream: av.stream.Stream) -> bool:
    """Whether a file only has its frames in order: AVI has no times, and FFmpeg's guess is wrong.

    Decoding such a stream gives right times from its beginning alone.
    """
    return container.format.name == "avi" and stream.type == "video"


def _count_up(frames: Iterator[av.VideoFrame], stream: av.stream.Stream) -> Iterator[av.VideoFrame]:
    first = None
    for frame in frames:
        first = frame.dts if first is None else first
        known = None not in (frame.dts, first)
        frame.pts = frame.dts - first + (stream.start_time or 0) if known else None
        yield frame


def _decode(
    container: av.container.InputContainer,
    stream: Native,  # of sound or picture: PyAV's common class does not decode
    path: str | os.PathLike,
    damage: Damage | None,
) -> Iterator[Native]:
    told, damage = damage is None, damage or Damage()
    for packet in itertools.chain(Packets(container, [stream], path, damage), [None]):
        try:
            frames = stream.decode(packet)  # None flushes the decoder
        except av.error.EOFError:  # it had been flushed already, by the file's last packet
            continue
        except av.error.FFmpegError:
            damage.packets += 1
            continue
        if stream.type == "audio" and packet is not None and packet.size and not packet.is_discard:
            damage.heard(frames)
        yield from frames
    damage.settle()
    if told and damage.packets:
        warnings.warn(
            f"{path}: {damage.packets} damaged {stream.type} packets were skipped", stacklevel=2
        )


def frame_time(frame: av.frame.Frame) -> Fraction | None:
    """A decoded frame's exact time in seconds of the container's clock; None if it has none."""
    tick = rational(frame.time_base)
    return None if frame.pts is None or tick is None else frame.pts * tick


def first_frame(
    container: av.container.InputContainer, stream: av.stream.Stream, path: str | os.PathLike
) -> tuple[Native, Fraction]:
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
        FileNotFoundError, ValueError: see `containers.open_container` and `first_frame`.
    """
    with containers.open_container(path) as container:
        stream = containers.video_stream(container)
        return None if stream is None else first_frame(container, stream, path)[1]
