"""Writing media files: a picture, encoded or copied, and sound that starts with it."""

import hashlib
import itertools
import os
import socket
import uuid
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from lipsync_jax import containers

_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")  # they keep times before 0, and so the sync
# What players expect in each; in .mkv anything goes.
_COPIED_AUDIO = {
    suffix: frozenset({"aac", "mp3", "ac3", "eac3", "alac", *more})
    for suffix, more in {".mp4": ["opus"], ".m4v": ["opus"], ".mov": ["pcm_s16le"]}.items()
}
# Keys that MP4 stores where every program looks; any other key needs FFmpeg's own atoms.
_MP4_KEYS = frozenset(
    "title artist album_artist composer album date comment genre copyright description".split()
)
_AAC_RATES = frozenset(
    {7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000}
)
_FIXED_FRAMES = frozenset({"aac", "mp3", "ac3", "eac3"})  # codecs whose packets are equally long
_AAC_BITS = 96_000  # a second and channel
_HOST = hashlib.sha1(socket.gethostname().encode()).hexdigest()[:6]
_PREROLL = Fraction(1, 10)  # seconds of copied sound before time 0: a decoder warms up on it


def mux(
    video_path: str | os.PathLike,
    audio_path: str | os.PathLike,
    outfile: str | os.PathLike,
    *,
    copy_audio: bool = True,
    shortest: bool = False,
    delay: Fraction = Fraction(0),
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Puts the sound of one file beside the picture of another, whose encoded frames are copied.

    Args:
        video_path: its picture is taken; its first frame is time 0 of the output.
        audio_path: its sound is taken, see `VideoWriter`.
        outfile: see `VideoWriter`; may be one of the inputs.
        copy_audio: see `VideoWriter`.
        shortest: end the sound with the picture.
        delay: seconds by which the sound is moved later; negative moves it earlier, and what then
            lies before the picture is cut.
        metadata: tags beside those of the video.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file cannot be read, has no such stream, or the output cannot hold the codec.
    """
    zero, times = containers.origin(video_path), _presentation_times(video_path)
    with containers.open_video(video_path) as container:
        source = containers.video_stream(container)
        tick, rate = containers.rational(source.time_base), containers.frame_rate(container, source)
        shift, decoding = round(zero / tick), iter(_decoding_times(times))
        output = Output(outfile, {**containers.tags(container), **(metadata or {})})
        try:
            stream = output.add_copy(source, rate)
            output.add_audio(audio_path, copy_audio, delay)
            output.start()
            end = Fraction(0)
            for packet in filter(lambda packet: packet.size, container.demux(source)):
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


def _presentation_times(path: str | os.PathLike) -> list[int]:
    """When each encoded frame is shown, ticks of the stream's clock, in the order of the file."""
    with containers.open_video(path) as container:
        stream = containers.video_stream(container)
        packets = [(packet.pts, packet.dts) for packet in container.demux(stream) if packet.size]
        times = [dts if pts is None else pts for pts, dts in packets]
        reordered = containers.is_untimed(container, stream) and stream.codec_context.has_b_frames
        if None in times or reordered:
            raise ValueError(
                f"{path} does not say when its frames are shown, so they cannot be copied; encode "
                "them anew (convert it to .mp4 first)"
            )
    return times


class _SampleClock:
    """Packets' times to the sample.

    Matroska rounds to milliseconds; copied so, packets would overlap.
    """

    def __init__(self, stream: av.AudioStream):
        codec = stream.codec_context
        self._tick = containers.rational(stream.time_base)
        self._frame = Fraction(codec.frame_size or 0, codec.sample_rate)
        self._fixed = codec.codec.canonical_name in _FIXED_FRAMES
        self._next: Fraction | None = None

    def __call__(self, packet: av.Packet) -> tuple[Fraction, Fraction]:
        """A packet's time in seconds of the stream's clock, and its duration in seconds."""
        time, duration = packet.pts * self._tick, (packet.duration or 0) * self._tick
        if self._frame:
            expected = self._next
            if expected is None:
                expected = round(time / self._frame) * self._frame
            time = expected if abs(expected - time) < self._tick else time
            whole = self._fixed and duration < self._frame  # else the end of the last is cut off
            duration = (
                self._frame if whole or abs(self._frame - duration) < self._tick else duration
            )
        self._next = time + duration
        return time, duration


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

    def __init__(self, path: str | os.PathLike, metadata: Mapping[str, str] | None):
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
            return self._container.add_stream(codec, rate=rate, options=options)
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
            raise ValueError(f"{self.path}: its picture cannot be written ({error})") from error

    def sound_until(self, moment: Fraction | None) -> None:
        """Writes the sound that starts before a moment, or all that is left."""
        if self._sound is not None:
            self._sound.advance(moment)

    def close(self) -> None:
        """Completes the file and gives it its name."""
        try:
            self._release()
            os.replace(self._partial, self.path)
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


class AudioTrack:
    """The sound of one file on its way into an output, beside a picture that starts at time 0.

    Copied where the output's format and its players know the codec, else encoded as AAC at its own
    rate and channels.
    """

    def __init__(
        self,
        output: av.container.OutputContainer,
        path: str | os.PathLike,
        copy: bool = True,
        delay: Fraction = Fraction(0),
    ):
        """Adds the stream to an output that is not started yet.

        Args:
            output: where it goes.
            path: the file with the sound. Its own first picture, or without one its first sample,
                meets time 0.
            copy: False encodes in any case.
            delay: seconds after time 0 at which that moment sounds.

        Raises:
            FileNotFoundError, ValueError: see `open_container`; or there is no audio stream.
        """
        self._output, self._path = output, path
        with containers.open_container(path) as container:
            stream = containers.audio_stream(container, path)
            _, first_sample = containers.first_frame(container, stream, path)
            codec = stream.codec_context.codec.canonical_name
        moment = containers.origin(path)
        moment = (first_sample if moment is None else moment) - delay
        known = _COPIED_AUDIO.get(Path(output.name).suffix, output.supported_codecs)
        packets = self._copied if copy and codec in known else self._encoded
        self._packets = packets(path, moment)
        next(self._packets)  # adds the stream, before the output is started
        self._waiting: tuple[Fraction, av.Packet] | None = None

    def advance(self, until: Fraction | None = None) -> None:
        """Muxes the packets that start before a moment; all that are left without one."""
        while True:
            if self._waiting is None:
                self._waiting = next(self._packets, None)
            if self._waiting is None or (until is not None and self._waiting[0] >= until):
                return
            try:
                self._output.mux_one(self._waiting[1])
            except av.error.FFmpegError as error:
                raise ValueError(
                    f"{self._path}: its sound does not fit the output ({error.strerror}); convert "
                    "it to WAV first"
                ) from error
            self._waiting = None

    def close(self) -> None:
        """Closes the file that is read."""
        self._packets.close()

    def _copied(self, path: str | os.PathLike, moment: Fraction) -> Iterator:
        with containers.open_container(path) as container:
            source = containers.audio_stream(container, path)
            target = self._output.add_stream_from_template(source, opaque=True)
            yield
            rate, clock = source.codec_context.sample_rate, _SampleClock(source)
            for packet in container.demux(source):
                if packet.pts is None:
                    continue  # the flush at the end
                time, duration = clock(packet)
                time -= moment
                if time + duration > -_PREROLL:
                    packet.time_base = Fraction(1, rate)
                    packet.pts = packet.dts = round(time * rate)
                    packet.duration = round(duration * rate)
                    packet.stream = target
                    yield time, packet

    def _encoded(self, path: str | os.PathLike, moment: Fraction) -> Iterator:
        source = containers.SampleStream(path, moment)
        if not source.layout:
            raise ValueError(
                f"{path}: nobody knows how to place its {source.channels} channels; convert its "
                "sound to stereo first"
            )
        rate = source.rate if source.rate in _AAC_RATES else 48_000
        bits = _AAC_BITS * source.channels
        target = self._output.add_stream("aac", rate=rate, layout=source.layout, bit_rate=bits)
        yield
        reframe = av.AudioResampler("fltp", source.layout, rate, frame_size=1024)
        position = 0
        for chunk in itertools.chain(source, [None]):
            for frame in reframe.resample(None if chunk is None else self._frame(chunk, source)):
                frame.pts, frame.time_base = position, Fraction(1, rate)
                position += frame.samples
                yield from self._encode(target, frame)
        yield from self._encode(target, None)

    @staticmethod
    def _frame(chunk: np.ndarray, source: containers.SampleStream) -> av.AudioFrame:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(chunk.T), "fltp", source.layout)
        frame.sample_rate = source.rate
        return frame

    @staticmethod
    def _encode(target: av.AudioStream, frame: av.AudioFrame | None) -> Iterator:
        for packet in target.encode(frame):
            yield packet.pts * containers.rational(packet.time_base), packet
