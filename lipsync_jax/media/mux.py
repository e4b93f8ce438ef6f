"""Writing media files: a picture, encoded or copied, and sound that starts with it."""

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

from lipsync_jax.media import containers
from lipsync_jax.media.audio_track import COPIED_AUDIO, AudioTrack
from lipsync_jax.media.packets import Packets, is_untimed, origin

if TYPE_CHECKING:
    from av.container.core import Chapter  # which the stubs alone have

_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")  # they keep times before 0, and so the sync
# Keys that MP4 stores where every program looks; any other key needs FFmpeg's own atoms.
_MP4_KEYS = frozenset(
    "title artist album_artist composer album date comment genre copyright description".split()
)
_COPIED_TEXT = {suffix: frozenset({"mov_text"}) for suffix in (".mp4", ".m4v", ".mov")}
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
    """Puts the sound of one file beside the picture of another, whose encoded frames are copied.

    Subtitles and chapters of the video are copied along and, where the sound is its own too, its
    further audio tracks.

    Args:
        video_path: its picture is taken; its first frame is time 0 of the output.
        audio_path: its sound is taken, see `VideoWriter`.
        outfile: see `VideoWriter`; may be one of the inputs.
        copy_audio: see `VideoWriter`.
        shortest: end the sound with the picture.
        delay: seconds by which the sound is moved later; negative moves it earlier, and what then
            lies before the picture is cut.
        metadata: tags beside those of the video.

    Returns:
        What the output can't hold, in words; e.g. "1 subtitle track (subrip)".

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file cannot be read, has no such stream, or the output cannot hold the codec.
    """
    zero, times = origin(video_path), _presentation_times(video_path)
    with containers.open_video(video_path) as container:
        source = containers.video_stream(container)
        tick, rate = containers.rational(source.time_base), containers.frame_rate(container, source)
        shift, decoding = round(zero / tick), iter(_decoding_times(times))
        output = Output(outfile, {**containers.tags(container), **(metadata or {})})
        try:
            stream = output.add_copy(source, rate)
            output.add_audio(audio_path, copy_audio, delay)
            beside = others(container, os.path.samefile(video_path, audio_path))
            copies = {other.index: output.add_other(other) for other in beside}
            kept = [other for other in beside if copies[other.index] is not None]
            lost = describe([other for other in beside if other not in kept])
            output.add_chapters(containers.chapters(container), zero)
            output.start()
            end = Fraction(0)
            for packet in Packets(container, [source, *kept], video_path):
                if not packet.size:
                    continue
                if packet.stream.index != source.index:
                    moved = zero - (delay if packet.stream.type == "audio" else 0)
                    output.mux_other(packet, copies[packet.stream.index], moved)
                    continue
                packet.pts = (packet.dts if packet.pts is None else packet.pts) - shift
                packet.dts = next(decoding) - shift
                packet.duration = packet.duration or round(1 / rate / tick)
                packet.stream = stream
                end = max(end, (packet.pts + packet.duration) * tick)
                moment = packet.dts * tick  # read now: muxing changes the packet's clock
                output.mux([packet])
                output.sound_until(moment)
            output.sound_until(end if shortest else None)
        except BaseException:
            output.abort()
            raise
        output.close()
    return lost


def others(container: av.container.InputContainer, own_sound: bool) -> list[av.stream.Stream]:
    """The streams of a video beside its picture: subtitles and further audio tracks.

    Args:
        container: the video, opened.
        own_sound: whether its main audio track is used; else none counts.
    """
    main = container.streams.best("audio")
    further = [stream for stream in container.streams.audio if stream.index != main.index]
    return [*(further if own_sound else ()), *container.streams.subtitles]


def describe(streams: Iterable[av.stream.Stream], chapters: int = 0) -> tuple[str, ...]:
    """Names streams by kind and codec, e.g. "2 subtitle tracks (subrip)"."""
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
    """When each encoded frame is shown, ticks of the stream's clock, in the order of the file."""
    with containers.open_video(path) as container:
        stream = containers.video_stream(container)
        read = Packets(container, [stream], path)
        times = [p.dts if p.pts is None else p.pts for p in read if p.size]
        reordered = is_untimed(container, stream) and stream.codec_context.has_b_frames
        if None in times or reordered:
            raise ValueError(
                f"{path} does not say when its frames are shown, so they cannot be copied; encode "
                "them anew (convert it to .mp4 first)"
            )
    return times


def _decoding_times(times: list[int]) -> list[int]:
    """Rising times, none later than the frame is shown: containers leave them out or err."""
    ordered = sorted(times)
    delay = max((early - shown for early, shown in zip(ordered, times, strict=True)), default=0)
    return [time - delay for time in ordered]


def partial_file(path: Path) -> Path:
    """A name beside an output's for writing it; removes what killed processes left of it.

    The name has the output's own (as a digest, which is short), host and process.
    """
    own = f".{hashlib.sha1(path.name.encode()).hexdigest()[:12]}-{_HOST}-"
    end = f".partial{path.suffix.lower()}"
    for left in path.parent.glob(f"{own}*{end}"):
        pid = left.name.removeprefix(own).partition("-")[0]
        if pid.isdigit() and not _is_alive(int(pid)):
            left.unlink(missing_ok=True)
    return path.with_name(f"{own}{os.getpid()}-{uuid.uuid4().hex[:8]}{end}")


def _is_alive(pid: int) -> bool:
    if os.name == "nt":  # where this call would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True


class Output:
    """A file being written beside its final name, with its sound."""

    def __init__(self, path: str | os.PathLike, metadata: Mapping[str, str] | None) -> None:
        self.path = Path(path)
        suffix = self.path.suffix.lower()
        if suffix not in _SUFFIXES:
            raise ValueError(f"{path}: a video is written as one of {', '.join(_SUFFIXES)}")
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
        self._sound: AudioTrack | None = None

    def add_video(
        self, codec: str, rate: Fraction, options: dict[str, str], preset: str | None
    ) -> av.VideoStream:
        """Adds a stream to encode."""
        options = options if preset is None else {**options, "preset": preset}
        try:
            return cast(
                av.VideoStream, self._container.add_stream(codec, rate=rate, options=options)
            )
        except ValueError as error:
            raise ValueError(
                f"{self.path}: codec {codec!r} cannot be written there; use libx264"
            ) from error

    def add_copy(self, source: av.VideoStream, rate: Fraction) -> av.VideoStream:
        """Adds a stream whose packets will be copied from `source`."""
        try:
            stream = self._container.add_stream_from_template(source, opaque=True)
        except ValueError as error:
            codec = source.codec_context.codec.canonical_name
            raise ValueError(
                f"{self.path}: this kind of file cannot hold {codec} video; write .mkv, or encode "
                "the frames anew"
            ) from error
        stream.codec_context.framerate = rate  # else Matroska tells the clock's
        return stream

    def add_other(self, source: av.stream.Stream) -> av.stream.Stream | None:
        """Adds a subtitle or further audio track to copy; None where the format can't hold it."""
        codec, suffix = _codec(source), self.path.suffix.lower()
        if source.type == "audio":
            known = COPIED_AUDIO.get(suffix, self._container.supported_codecs)
        else:
            known = _COPIED_TEXT.get(suffix, {"subrip", "ass", "webvtt", "dvb_subtitle"})
        if codec not in known:
            return None
        try:
            stream = self._container.add_stream_from_template(source, opaque=True)
        except (ValueError, av.error.FFmpegError):
            return None
        stream.metadata.update(containers.tags(source))
        return stream

    def add_chapters(self, chapters: "Sequence[Chapter]", zero: Fraction) -> None:
        """Takes over the chapters of a video whose first frame is at `zero` by its own clock."""
        moved = []
        for chapter in chapters:
            tick = containers.rational(chapter["time_base"])
            start, end = (max(0, chapter[key] - round(zero / tick)) for key in ("start", "end"))
            if end > start:
                moved.append(cast("Chapter", {**chapter, "start": start, "end": end}))
        if moved:
            self._container.set_chapters(moved)

    def mux_other(self, packet: av.Packet, stream: av.stream.Stream, earlier: Fraction) -> None:
        """Writes a packet of a further stream, moved earlier; drops it before time 0."""
        tick = containers.rational(packet.time_base)
        if packet.pts is None or not tick or packet.pts * tick < earlier:
            return
        packet.pts -= round(earlier / tick)
        packet.dts = packet.pts
        packet.stream = stream
        self.mux([packet])

    def add_audio(self, path: str | os.PathLike, copy: bool, delay: Fraction = Fraction(0)) -> None:
        """Adds the sound of a file, see `AudioTrack`."""
        self._sound = AudioTrack(self._container, path, copy, delay)

    def start(self) -> None:
        """Opens the encoders, so that bad options are told now and not after slow work."""
        try:
            self._container.start_encoding()
        except (av.error.FFmpegError, ValueError) as error:
            raise ValueError(
                f"{self.path}: the encoder refuses its settings ({error}); "
                "check size, codec, crf and preset"
            ) from error

    def mux(self, packets: list[av.Packet]) -> None:
        """Writes packets of the picture."""
        try:
            self._container.mux(packets)
        except av.error.FFmpegError as error:
            raise ValueError(f"{self.path} cannot be written ({error.strerror})") from error

    def sound_until(self, moment: Fraction | None) -> None:
        """Writes the sound that starts before a moment, or all that is left."""
        if self._sound is not None:
            self._sound.advance(moment)

    def close(self) -> None:
        """Completes the file and gives it its name."""
        try:
            self._release()
            os.replace(self._partial, self.path)
        except av.error.FFmpegError as error:
            self._partial.unlink(missing_ok=True)
            raise ValueError(f"{self.path} cannot be completed ({error.strerror})") from error
        except BaseException:
            self._partial.unlink(missing_ok=True)
            raise

    def abort(self) -> None:
        """Closes and leaves nothing."""
        try:
            self._release()
        except av.error.FFmpegError:
            pass  # an unfinished file need not be valid
        finally:
            self._partial.unlink(missing_ok=True)

    def _release(self) -> None:
        if self._sound is not None:
            self._sound.close()
        self._container.close()
