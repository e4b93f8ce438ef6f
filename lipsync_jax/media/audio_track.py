"""Copies or encodes the audio of one file into another."""

import itertools
import os
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from lipsync_jax import paths
from lipsync_jax.media import containers
from lipsync_jax.media.packets import Packets, first_frame, video_start_time
from lipsync_jax.media.samples import SampleStream, is_uniform

# What players support in each; .mkv may hold any codec.
COPIED_AUDIO = {
    suffix: frozenset({"aac", "mp3", "ac3", "eac3", "alac", *more})
    for suffix, more in {".mp4": ["opus"], ".m4v": ["opus"], ".mov": ["pcm_s16le"]}.items()
}
_AAC_RATES = frozenset(
    {7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000}
)
_AAC_LAYOUTS = frozenset({"mono", "stereo", "3.0", "4.0", "5.0", "5.1"})  # supported by players
_FIXED_FRAMES = frozenset({"aac", "mp3", "ac3", "eac3"})  # codecs with packets of equal duration
_AAC_BITRATE = 96_000  # bits a second for each channel
_PREROLL = Fraction(1, 10)  # seconds of copied audio before time 0, for the decoder to start


class _SampleClock:
    """Computes sample-accurate times of packets.

    Matroska rounds times to milliseconds, with which packets would overlap.
    """

    def __init__(self, stream: av.AudioStream) -> None:
        codec = stream.codec_context
        self._tick = containers.rational(stream.time_base)
        self._frame = Fraction(codec.frame_size or 0, codec.sample_rate)
        self._fixed = codec.codec.canonical_name in _FIXED_FRAMES
        self._next: Fraction | None = None

    def __call__(self, packet: av.Packet) -> tuple[Fraction, Fraction]:
        """Returns a packet's time in seconds of the stream's clock, and its duration in seconds."""
        time, duration = packet.pts * self._tick, (packet.duration or 0) * self._tick
        if self._frame:
            expected = self._next
            if expected is None:
                expected = round(time / self._frame) * self._frame
            time = expected if abs(expected - time) < self._tick else time
            whole = self._fixed and duration < self._frame  # else the end of the last packet is cut
            duration = (
                self._frame if whole or abs(self._frame - duration) < self._tick else duration
            )
        self._next = time + duration
        return time, duration


class AudioTrack:
    """Writes the audio of a file to an output whose video starts at time 0.

    The audio is copied if the output's format supports the codec and its parameters are constant,
    else encoded as AAC at its own rate and channels; layouts that AAC lacks, such as 7.1, become
    5.1.
    """

    def __init__(
        self,
        output: av.container.OutputContainer,
        path: str | os.PathLike,
        copy: bool = True,
        delay: Fraction = Fraction(0),
    ) -> None:
        """Adds the stream to an output that is not started yet.

        Args:
            output: the file that is written.
            path: the file with the audio. Its first video frame, or else its first sample, is at
                time 0.
            copy: False always encodes.
            delay: seconds by which the audio is moved later.

        Raises:
            FileNotFoundError, ValueError: see `open_container`; or there is no audio stream.
        """
        self._output, self._path = output, path
        with containers.open_container(path) as container:
            stream = containers.audio_stream(container, path)
            _, first_sample = first_frame(container, stream, path)
            codec = stream.codec_context.codec.canonical_name
            language = containers.tags(stream).get("language")
        moment = video_start_time(path)
        moment = (first_sample if moment is None else moment) - delay
        supported_codecs = COPIED_AUDIO.get(Path(output.name).suffix, output.supported_codecs)
        copied = copy and codec in supported_codecs and is_uniform(path)
        self._packets = (self._copied if copied else self._encoded)(path, moment)
        next(self._packets)  # adds the stream, before the output is started
        if language:
            output.streams.audio[-1].metadata["language"] = language
        self._pending: tuple[Fraction, av.Packet] | None = None

    def write_until(self, end: Fraction | None = None) -> None:
        """Muxes the packets that start before a time; all remaining ones with None.

        Raises:
            ValueError: the format can't hold the audio.
            av.error.OSError: the disk of the output is full.
        """
        while True:
            try:
                if self._pending is None:
                    self._pending = next(self._packets, None)
                if self._pending is None or (end is not None and self._pending[0] >= end):
                    return
                self._output.mux_one(self._pending[1])
            except av.error.FFmpegError as error:
                if error.errno in paths.FULL_DISK:
                    raise
                raise ValueError(
                    f"{self._path}: its audio does not fit the output ({error.strerror}); convert "
                    "it to WAV first"
                ) from error
            self._pending = None

    def close(self) -> None:
        """Closes the file with the audio."""
        self._packets.close()

    def _copied(self, path: str | os.PathLike, moment: Fraction) -> Generator:
        with containers.open_container(path) as container:
            source = containers.audio_stream(container, path)
            target = self._output.add_stream_from_template(source, opaque=True)
            yield
            rate, clock = source.codec_context.sample_rate, _SampleClock(source)
            for packet in Packets(container, [source], path):
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

    def _encoded(self, path: str | os.PathLike, moment: Fraction) -> Generator:
        source = SampleStream(path, moment)
        if not source.layout:
            raise ValueError(
                f"{path}: the layout of its {source.channels} channels is unknown; convert its "
                "audio to stereo first"
            )
        rate = source.rate if source.rate in _AAC_RATES else 48_000
        layout = source.layout if source.layout in _AAC_LAYOUTS else "5.1"
        if source.channels <= 2:
            layout = ("mono", "stereo")[source.channels - 1]
        bits = _AAC_BITRATE * min(source.channels, 6)
        target = self._output.add_stream("aac", rate=rate, layout=layout, bit_rate=bits)
        yield
        resampler = av.AudioResampler("fltp", layout, rate, frame_size=1024)
        position = 0
        for chunk in itertools.chain(source, [None]):
            for frame in resampler.resample(None if chunk is None else self._frame(chunk, source)):
                frame.pts, frame.time_base = position, Fraction(1, rate)
                position += frame.samples
                yield from self._encode(target, frame)
        yield from self._encode(target, None)

    @staticmethod
    def _frame(chunk: np.ndarray, source: SampleStream) -> av.AudioFrame:
        packed = np.ascontiguousarray(chunk).reshape(1, -1)  # PyAV has no planes for 7.1
        frame = av.AudioFrame.from_ndarray(packed, "flt", source.layout)
        frame.sample_rate = source.rate
        return frame

    @staticmethod
    def _encode(target: av.AudioStream, frame: av.AudioFrame | None) -> Generator:
        for packet in target.encode(frame):
            yield packet.pts * containers.rational(packet.time_base), packet
