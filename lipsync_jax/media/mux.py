"""Writes media files: video, encoded or copied, and audio that starts with the video."""

import collections
import hashlib
import os
import socket
import uuid
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av

from lipsync_jax import paths
from lipsync_jax.media import containers
from lipsync_jax.media.audio_track import COPIED_AUDIO, AudioTrack
from lipsync_jax.media.packets import Packets, is_untimed, video_start_time

if TYPE_CHECKING:
    from av.container.core import Chapter  # which the stubs alone have

_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")  # formats that keep times before 0, and so the sync
# Keys with standard MP4 atoms; any other key needs FFmpeg's own atoms.
_MP4_KEYS = frozenset(
    "title artist album_artist composer album date comment genre copyright description".split()
)
_COPIED_SUBTITLES = {suffix: frozenset({"mov_text"}) for suffix in (".mp4", ".m4v", ".mov")}
_HOST = hashlib.sha1(socket.gethostname().encode()).hexdigest()[:6]


def mux(
    video_path: str | os.PathLike,
    audio_path: str | os.PathLike,
    outfile: str | os.PathLike,
    *,
    copy_audio: bool = True,
    shortest: bool = False,
    delay: Fraction = Fraction(0),
    metadata: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """Muxes the copied video stream of one file with the audio of another.

    Subtitles and chapters of the video are copied too and, if the audio is the video's own, its
    further audio tracks.

    Args:
        video_path: file with the video; its first frame is time 0 of the output.
        audio_path: file with the audio, see `VideoWriter`.
        outfile: see `VideoWriter`; may be one of the inputs.
        copy_audio: see `VideoWriter`.
        shortest: end the audio with the video.
        delay: seconds by which the audio is moved later; negative moves it earlier and cuts the
            part before the video.
        metadata: tags in addition to those of the video.

    Returns:
        Descriptions of streams that the output can't hold, e.g. "1 subtitle track (subrip)".

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file cannot be read, has no such stream, or the output cannot hold the codec.
    """
    zero, times = video_start_time(video_path), _distinct(_presentation_times(video_path))
    with containers.open_video(video_path) as container:
        source = containers.video_stream(container)
        tick, rate = containers.rational(source.time_base), containers.frame_rate(container, source)
        shift, shown, decoding = round(zero / tick), iter(times), iter(_decoding_times(times))
        output = Output(outfile, {**containers.tags(container), **(metadata or {})})
        try:
            stream = output.add_copy(source, rate)
            output.add_audio(audio_path, copy_audio, delay)
            extra = extra_streams(container, os.path.samefile(video_path, audio_path))
            copies = {other.index: output.add_extra(other) for other in extra}
            copied = [other for other in extra if copies[other.index] is not None]
            dropped = describe_streams([other for other in extra if other not in copied])
            output.add_chapters(containers.chapters(container), zero)
            output.start()
            end = Fraction(0)
            for packet in Packets(container, [source, *copied], video_path):
                if not packet.size:
                    continue
                if packet.stream.index != source.index:
                    stream_start = zero - (delay if packet.stream.type == "audio" else 0)
                    output.mux_extra(packet, copies[packet.stream.index], stream_start)
                    continue
                packet.pts = next(shown) - shift
                packet.dts = next(decoding) - shift
                packet.duration = packet.duration or round(1 / rate / tick)
                packet.stream = stream
                end = max(end, (packet.pts + packet.duration) * tick)
                time = packet.dts * tick  # before muxing, which changes the packet's time base
                output.mux([packet])
                output.write_audio_until(time)
            output.write_audio_until(end if shortest else None)
        except BaseException:
            output.abort()
            raise
        output.close()
    return dropped


def extra_streams(
    container: av.container.InputContainer, own_audio: bool
) -> list[av.stream.Stream]:
    """Returns the extra streams of a video: subtitles and further audio tracks.

    Args:
        container: the opened video.
        own_audio: whether its main audio track is used; else no audio track is returned.
    """
    main = containers.main_audio(container)
    extra_audio = [stream for stream in container.streams.audio if stream.index != main.index]
    return [*(extra_audio if own_audio else ()), *container.streams.subtitles]


def describe_streams(streams: Iterable[av.stream.Stream], chapters: int = 0) -> tuple[str, ...]:
    """Describes streams by type and codec, e.g. "2 subtitle tracks (subrip)"."""
    counts = collections.Counter((stream.type, _codec(stream)) for stream in streams)
    words = [
        f"{count} {kind.replace('audio', 'further audio')} track{'s' * (count > 1)} ({codec})"
        for (kind, codec), count in counts.items()
    ]
    return (*words, *([f"{chapters} chapter{'s' * (chapters > 1)}"] if chapters else []))


def _codec(stream: av.stream.Stream) -> str:
    context = stream.codec_context
    return "unknown" if context is None else context.codec.canonical_name


def _presentation_times(path: str | os.PathLike) -> list[int]:
    """Returns the presentation times of encoded frames, in ticks, in the order of the file."""
    with containers.open_video(path) as container:
        stream = containers.video_stream(container)
        read = Packets(container, [stream], path)
        times = [p.dts if p.pts is None else p.pts for p in read if p.size]
        reordered = is_untimed(container, stream) and stream.codec_context.has_b_frames
        if None in times or reordered:
            raise ValueError(
                f"{path} has no presentation times, so that its frames cannot be copied; convert "
                "it to .mp4 first"
            )
    return times


def _distinct(times: list[int]) -> list[int]:
    """Moves frames that repeat a time later by ticks: the format of MP4 has distinct times only."""
    distinct, last = [*times], None
    for place in sorted(range(len(times)), key=times.__getitem__):
        last = times[place] if last is None else max(times[place], last + 1)
        distinct[place] = last
    return distinct


def _decoding_times(times: list[int]) -> list[int]:
    """Computes rising decoding times, none later than the presentation times."""
    ordered = sorted(times)
    delay = max((early - shown for early, shown in zip(ordered, times, strict=True)), default=0)
    return [time - delay for time in ordered]


def check_output(path: Path) -> None:
    """Refuses a path that `Output` can't write, before the slow work for the video.

    Raises:
        ValueError: the path is a folder, or no format of video has its suffix.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise ValueError(f"{path}: a video is written as one of {', '.join(_SUFFIXES)}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give a file in it, e.g. {path / 'out.mp4'}")


def partial_file(path: Path) -> Path:
    """Returns a temporary name beside an output; removes leftovers of killed processes.

    The name has a digest of the output's name, the host and the process.
    """
    prefix = f".{hashlib.sha1(os.fsencode(path.name)).hexdigest()[:12]}-{_HOST}-"
    end = f".partial{path.suffix.lower()}"
    for leftover in path.parent.glob(f"{prefix}*{end}"):
        pid = leftover.name.removeprefix(prefix).partition("-")[0]
        if pid.isdigit() and not _is_alive(int(pid)):
            leftover.unlink(missing_ok=True)
    return path.with_name(f"{prefix}{os.getpid()}-{uuid.uuid4().hex[:8]}{end}")


def _is_alive(pid: int) -> bool:
    if os.name == "nt":  # os.kill would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # of another user
    return True


class Output:
    """Writes a media file under a temporary name, with its audio."""

    def __init__(self, path: str | os.PathLike, metadata: Mapping[str, str] | None) -> None:
        self.path = Path(path)
        check_output(self.path)
        suffix = self.path.suffix.lower()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._partial = partial_file(self.path)
        technical = {"major_brand", "minor_version", "compatible_brands", "encoder"}
        tags = {key: text for key, text in (metadata or {}).items() if key not in technical}
        flags = "+faststart" if set(tags) <= _MP4_KEYS else "+faststart+use_metadata_tags"
        options = {} if suffix == ".mkv" else {"movflags": flags}
        self._container = av.open(
            f"file:{self._partial}", "w", "mp4" if suffix == ".m4v" else None, options
        )
        self._container.metadata.update(tags)
        self._audio_track: AudioTrack | None = None

    def add_video(
        self, codec: str, rate: Fraction, options: dict[str, str], preset: str | None
    ) -> av.VideoStream:
        """Adds a video stream to encode."""
        options = options if preset is None else {**options, "preset": preset}
        try:
            if av.Codec(codec, "w").type != "video":
                raise ValueError(f"{codec} encodes no video")
            return cast(
                av.VideoStream, self._container.add_stream(codec, rate=rate, options=options)
            )
        except ValueError as error:
            raise ValueError(
                f"{self.path}: codec {codec!r} cannot be written there; use libx264"
            ) from error

    def add_copy(self, source: av.VideoStream, rate: Fraction) -> av.VideoStream:
        """Adds a video stream whose packets are copied from `source`."""
        try:
            stream = self._container.add_stream_from_template(source, opaque=True)
        except ValueError as error:
            codec = source.codec_context.codec.canonical_name
            raise ValueError(
                f"{self.path}: this kind of file cannot hold {codec} video; write .mkv, or encode "
                "the frames again"
            ) from error
        stream.codec_context.framerate = rate  # else Matroska writes the time base's
        return stream

    def add_extra(self, source: av.stream.Stream) -> av.stream.Stream | None:
        """Adds a subtitle or further audio track to copy; None where the format can't hold it."""
        codec, suffix = _codec(source), self.path.suffix.lower()
        if source.type == "audio":
            known = COPIED_AUDIO.get(suffix, self._container.supported_codecs)
        else:
            known = _COPIED_SUBTITLES.get(suffix, {"subrip", "ass", "webvtt", "dvb_subtitle"})
        if codec not in known:
            return None
        try:
            stream = self._container.add_stream_from_template(source, opaque=True)
        except (ValueError, av.error.FFmpegError):
            return None
        stream.metadata.update(containers.tags(source))
        return stream

    def add_chapters(self, chapters: "Sequence[Chapter]", zero: Fraction) -> None:
        """Copies the chapters of a video whose first frame is at `zero` of its own clock."""
        moved = []
        for chapter in chapters:
            tick = containers.rational(chapter["time_base"])
            start, end = (max(0, chapter[key] - round(zero / tick)) for key in ("start", "end"))
            if end > start:
                moved.append(cast("Chapter", {**chapter, "start": start, "end": end}))
        if moved:
            self._container.set_chapters(moved)

    def mux_extra(self, packet: av.Packet, stream: av.stream.Stream, shift: Fraction) -> None:
        """Writes a packet of an extra stream, moved earlier; drops packets before time 0."""
        tick = containers.rational(packet.time_base)
        if packet.pts is None or not tick or packet.pts * tick < shift:
            return
        packet.pts -= round(shift / tick)
        packet.dts = packet.pts
        packet.stream = stream
        self.mux([packet])

    def add_audio(self, path: str | os.PathLike, copy: bool, delay: Fraction = Fraction(0)) -> None:
        """Adds the audio of a file, see `AudioTrack`."""
        self._audio_track = AudioTrack(self._container, path, copy, delay)

    def start(self) -> None:
        """Opens the encoders, so that bad options are refused before slow work."""
        try:
            self._container.start_encoding()
        except (av.error.FFmpegError, ValueError) as error:
            if isinstance(error, OSError):
                raise ValueError(self._unwritten("written", error)) from error
            reason = getattr(error, "strerror", None) or error  # without FFmpeg's call
            raise ValueError(
                f"{self.path}: the encoder refuses its settings ({reason}); "
                "check size, codec, crf and preset, or use libx264"
            ) from error

    def mux(self, packets: list[av.Packet]) -> None:
        """Writes packets of the video."""
        try:
            self._container.mux(packets)
        except av.error.FFmpegError as error:
            raise ValueError(self._unwritten("written", error)) from error

    def write_audio_until(self, end: Fraction | None) -> None:
        """Writes the audio that starts before a time, or all that remains."""
        if self._audio_track is not None:
            try:
                self._audio_track.write_until(end)
            except av.error.FFmpegError as error:
                raise ValueError(self._unwritten("written", error)) from error

    def close(self) -> None:
        """Completes the file and gives it its name."""
        try:
            self._release()
            os.replace(self._partial, self.path)
        except av.error.FFmpegError as error:
            self._partial.unlink(missing_ok=True)
            raise ValueError(self._unwritten("completed", error)) from error
        except BaseException:
            self._partial.unlink(missing_ok=True)
            raise

    def abort(self) -> None:
        """Closes and removes the file."""
        try:
            self._release()
        except av.error.FFmpegError:
            pass  # an unfinished file is not valid
        finally:
            self._partial.unlink(missing_ok=True)

    def _unwritten(self, what: str, error: av.error.FFmpegError | OSError) -> str:
        action = "; make room on its disk" if error.errno in paths.FULL_DISK else ""
        return f"{self.path} cannot be {what} ({error.strerror}){action}"

    def _release(self) -> None:
        if self._audio_track is not None:
            self._audio_track.close()
        self._container.close()
