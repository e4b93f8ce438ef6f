"""The sound of one file on its way into another, copied or encoded."""

import itertools
import os
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from lipsync_jax.media import containers
from lipsync_jax.media.packets import Packets, first_frame, origin
from lipsync_jax.media.samples import SampleStream, is_uniform

# What players expect in each; in .mkv anything goes.
COPIED_AUDIO = {
    suffix: frozenset({"aac", "mp3", "ac3", "eac3", "alac", *more})
    for suffix, more in {".mp4": ["opus"], ".m4v": ["opus"], ".mov": ["pcm_s16le"]}.items()
}
_AAC_RATES = frozenset(
    {7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000}
)
_AAC_LAYOUTS = frozenset({"mono", "stereo", "3.0", "4.0", "5.0", "5.1"})  # that players know
_FIXED_FRAMES = frozenset({"aac", "mp3", "ac3", "eac3"})  # codecs whose packets are equally long
_AAC_BITS = 96_000  # a second and channel
_PREROLL = Fraction(1, 10)  # seconds of copied sound before time 0: a decoder warms up on it


class _SampleClock:
    """Packets' times to the sample.

    Matroska rounds to milliseconds; copied so, packets would overlap.
    """

    def __init__(self, stream: av.AudioStream) -> None:
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


class AudioTrack:
    """The sound of one file on its way into an output, beside a picture that starts at time 0.

    Copied where the output's format and its players know the codec and it stays the same all
    through, else encoded as AAC at its own rate and channels; what AAC has no place for, such as
    7.1, becomes 5.1.
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
            _, first_sample = first_frame(container, stream, path)
            codec = stream.codec_context.codec.canonical_name
            language = containers.tags(stream).get("language")
        moment = origin(path)
        moment = (first_sample if moment is None else moment) - delay
        known = COPIED_AUDIO.get(Path(output.name).suffix, output.supported_codecs)
        copied = copy and codec in known and is_uniform(path)
        self._packets = (self._copied if copied else self._encoded)(path, moment)
        next(self._packets)  # adds the stream, before the output is started
        if language:
            output.streams.audio[-1].metadata["language"] = language
        self._waiting: tuple[Fraction, av.Packet] | None = None

    def advance(self, until: Fraction | None = None) -> None:
        """Muxes the packets that start before a moment; all that are left without one."""
        while True:
            try:
                if self._waiting is None:
                    self._waiting = next(self._packets, None)
                if self._waiting is None or (until is not None and self._waiting[0] >= until):
                    return
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
                f"{path}: nobody knows how to place its {source.channels} channels; convert its "
                "sound to stereo first"
            )
        rate = source.rate if source.rate in _AAC_RATES else 48_000
        layout = source.layout if source.layout in _AAC_LAYOUTS else "5.1"
        if source.channels <= 2:
            layout = ("mono", "stereo")[source.channels - 1]
        bits = _AAC_BITS * min(source.channels, 6)
        target = self._output.add_stream("aac", rate=rate, layout=layout, bit_rate=bits)
        yield
        reframe = av.AudioResampler("fltp", layout, rate, frame_size=1024)
        position = 0
        for chunk in itertools.chain(source, [None]):
            for frame in reframe.resample(None if chunk is None else self._frame(chunk, source)):
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
