"""The samples of a file's sound, in pieces, and how its channels become one."""

import functools
import os
import re
import warnings
from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import av
import numpy as np
import soxr

from lipsync_jax.media import containers, packets

_JITTER = Fraction(1, 20)  # seconds by which timestamps may stray from the sample count
# What unnamed channels (plain WAV and AVI) are taken for, as FFmpeg and players do.
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_RATES = range(4_000, 768_001)  # samples a second that any recorder or codec has
_BACKWARD = Fraction(1, 10)  # a clock that jumps back further than this has restarted
_LEAP = 60  # seconds of silence that a file of unknown length may hold at most
_SHORT = Fraction(1, 4)  # seconds by which sound may end before its header says
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
# Formats without times: what FFmpeg tells is counted, and wrong where the rate changes.
_UNTIMED = frozenset({"mp3", "aac", "ac3", "eac3", "loas", "amr", "amrnb", "amrwb"})
# Channels in the sum of all: speech is as loud in it as in the centre, or as in left and right.
_IN_SUM = {"FC": 1.0, "FL": 0.5, "FR": 0.5, "LFE": 0.0, "LFE2": 0.0}
_SURROUND = 0.35
_SCANNED = 60  # seconds of sound by which the sum of the channels is judged
_CANCELLED = 0.1  # of the loudest channel's level: a sum below it has cancelled itself out


class SampleStream:
    """The samples of a file's best audio stream, in pieces, placed by their timestamps.

    Sample 0 sounds at `start`; what sounded earlier is cut, missing stretches (a late start, lost
    packets) are silence, so sample n always sounds n / rate seconds after `start`. Encoder priming
    is dropped by the decoder. Where the rate or the number of channels changes half-way, all is
    brought to the stream's own.

    Attributes:
        rate: samples a second.
        channels: number of channels.
        layout: FFmpeg's name for them, e.g. `stereo`; empty where they are more than eight and the
            file does not name them.
        uniform: whether rate, channels and clock have stayed the same so far.
        lost: seconds of sound that could not be read: silence in the middle, or a missing end.

    Iterating, once, yields float32 (samples, channels), full scale 1.
    """

    def __init__(
        self, path: str | os.PathLike, start: Fraction | None = None, quiet: bool = False
    ) -> None:
        """Opens the file.

        Args:
            path: any container FFmpeg reads.
            start: seconds of the container's clock at which sample 0 sounds; None means where the
                audio itself starts.
            quiet: don't warn of damage.

        Raises:
            FileNotFoundError, ValueError: see `open_container`; or there is no audio stream, or its
                sample rate is implausible.
        """
        self.path, self.start = path, start
        self.uniform, self.lost, self._quiet = True, Fraction(0), quiet
        self._damage = packets.Damage()
        self._container = containers.open_container(path)
        self._stream = containers.audio_stream(self._container, path)
        context = self._stream.codec_context
        self.rate, self.channels = context.sample_rate, context.layout.nb_channels
        if self.rate not in _RATES:
            self._container.close()
            raise ValueError(
                f"{path} claims a sample rate of {self.rate} Hz, none between {_RATES[0]} and "
                f"{_RATES[-1]} Hz; it may be damaged: convert it with another program, or download "
                "it again"
            )
        self.layout = _layout_name(context.layout)

    def __iter__(self) -> Iterator[np.ndarray]:
        start, position, skew, damaged = self.start, 0, 0, 0
        length = self._container.duration  # microseconds, or None; of joined files, the first's
        length = None if packets.joins(self._container, self.path) else length
        limit = length and length * self.rate // 1_000_000 + self.rate
        jitter, backward = int(_JITTER * self.rate), int(_BACKWARD * self.rate)
        untimed = self._container.format.name in _UNTIMED
        with self._container:
            decoded = packets.decode_packets(self._container, self._stream, self.path, self._damage)
            for time, samples in self._converted(decoded):
                if start is None:
                    start = time
                gap = 0
                if time is not None and not (untimed and position):
                    gap = round((time - start) * self.rate) + skew - position
                leap = _LEAP * self.rate if limit is None else limit - position
                if position and not -backward <= gap <= leap:
                    skew, gap = skew - gap, 0  # the clock was reset here: simply go on
                    self.uniform = False
                if gap > (jitter if position else 0):
                    if position and self._damage.packets > damaged:
                        self.lost += Fraction(gap, self.rate)
                    yield np.zeros((gap, self.channels), np.float32)
                    position += gap
                elif gap < (-jitter if position else 0):
                    samples = samples[-gap:]
                damaged = self._damage.packets
                if len(samples):
                    yield samples
                    position += len(samples)
            missing = (self._end() or 0) - (start or 0) - Fraction(position, self.rate)
            self.lost += missing if position and missing > _SHORT else self._damage.mute
        self._warn()

    def _end(self) -> Fraction | None:
        """When the sound ends by its header, seconds of the container's clock, if that is known."""
        tick, told = containers.rational(self._stream.time_base), self._stream.duration
        if self._container.format.name.startswith("mov") and told and tick:
            return (told + (self._stream.start_time or 0)) * tick
        text = containers.tags(self._stream).get("DURATION", "")  # as Matroska has it
        if found := _CLOCK.fullmatch(text):
            hours, minutes, seconds = map(Fraction, found.groups())
            return hours * 3600 + minutes * 60 + seconds
        return None

    def _warn(self) -> None:
        count = self._damage.packets
        said = [f"{count} damaged audio packets were skipped"] if count else []
        said += [f"{float(self.lost):.2f} s of sound are lost"] if self.lost else []
        if said and not self._quiet:
            warnings.warn(f"{self.path}: {'; '.join(said)}", stacklevel=3)

    def _converted(
        self, frames: Iterator[av.AudioFrame]
    ) -> Iterator[tuple[Fraction | None, np.ndarray]]:
        """Samples at the stream's rate and channels, with their time where they have their own."""
        resampler, own = None, self.rate
        for frame in frames:
            samples, time = _samples(frame), packets.frame_time(frame)
            if frame.sample_rate != own:
                if resampler is not None:
                    yield None, resampler.resample_chunk(self._nothing(), last=True)
                own, resampler = frame.sample_rate, None
                if own != self.rate:
                    resampler = soxr.ResampleStream(own, self.rate, self.channels, quality="HQ")
            elif resampler is not None:
                time = None  # the resampler holds some samples back
            if samples.shape[1] != self.channels:
                samples = sum_channels(samples, _static_weights(frame.layout))
                samples = np.repeat(samples[:, None], self.channels, axis=1)
                self.uniform = False
            if resampler is not None:
                samples = resampler.resample_chunk(np.ascontiguousarray(samples))
                self.uniform = False
            yield time, samples
        if resampler is not None:
            yield None, resampler.resample_chunk(self._nothing(), last=True)

    def _nothing(self) -> np.ndarray:
        return np.zeros((0, self.channels), np.float32)


def _layout_name(layout: av.AudioLayout) -> str:
    unnamed = layout.name.endswith("channels")
    return _LAYOUTS.get(layout.nb_channels, "") if unnamed else layout.name


def _samples(frame: av.AudioFrame) -> np.ndarray:
    channels, data = frame.layout.nb_channels, frame.to_ndarray()
    data = data.T if frame.format.is_planar else data.reshape(-1, channels)
    if data.dtype == np.uint8:
        return (data.astype(np.float32) - 128) / 128
    if data.dtype.kind == "i":
        return data.astype(np.float32) / -float(np.iinfo(cast(np.dtype[np.int64], data.dtype)).min)
    return data.astype(np.float32)


def is_uniform(path: str | os.PathLike) -> bool:
    """Whether a file's sound can be copied packet by packet: one rate, one layout, one clock.

    Files of formats that can be joined byte for byte are decoded to their end for it, once.

    Raises:
        FileNotFoundError, ValueError: see `SampleStream`.
    """
    stat = containers.check_file(path).stat()
    return _is_uniform(os.fspath(path), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _is_uniform(path: str, size: int, modified: int) -> bool:
    del size, modified  # they tell whether the file has changed
    with containers.open_container(path) as container:
        if container.format.name not in _UNTIMED | packets.JOINABLE:
            return True
        if packets.joins(container, path):
            return False
    stream = SampleStream(path, quiet=True)
    return all(stream.uniform for _ in stream) and stream.uniform


def sum_channels(samples: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Makes one channel of several.

    Args:
        samples: float32 (samples, channels).
        weights: float32 (channels,), see `mono_weights`.

    Returns:
        float32 (samples,), the same however the samples are divided into pieces.
    """
    return samples[:, 0] if len(weights) == 1 else (samples * weights).sum(axis=1)


def mono_weights(path: str | os.PathLike) -> np.ndarray:
    """The shares of a file's channels in the one that speech is taken from.

    Two channels are averaged. Of more, the centre counts in full, left and right by half, surround
    by a third and bass not at all; the sum is made no louder than its loudest channel. Where
    channels cancel each other out, as in stereo with one side inverted, the loudest is taken alone.
    The first minute of sound decides.

    Returns:
        float32 (channels,).

    Raises:
        FileNotFoundError, ValueError: see `SampleStream`.
    """
    stat = containers.check_file(path).stat()
    return _mono_weights(os.fspath(path), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _mono_weights(path: str, size: int, modified: int) -> np.ndarray:
    del size, modified  # they tell whether the file has changed
    stream = SampleStream(path, quiet=True)
    if stream.channels == 1:
        return np.ones(1, np.float32)
    products, heard = np.zeros((stream.channels,) * 2), 0
    for samples in stream:
        if samples.any():
            products += samples.T.astype(np.float64) @ samples
            heard += len(samples)
        if heard > _SCANNED * stream.rate:
            break
    return _weights(stream.layout, products)


def _static_weights(layout: av.AudioLayout) -> np.ndarray:
    return _weights(_layout_name(layout), np.zeros((layout.nb_channels,) * 2))


def _weights(layout: str, products: np.ndarray) -> np.ndarray:
    count = len(products)
    weights = np.full(count, 1 / count)
    names = [channel.name for channel in av.AudioLayout(layout).channels] if layout else []
    if count > 2 and len(names) == count:
        weights = np.array([_IN_SUM.get(name, _SURROUND) for name in names])
    level = np.sqrt(max(weights @ products @ weights, 0.0))
    loudest = np.sqrt(products.diagonal().max())
    if level < _CANCELLED * loudest:
        weights = np.eye(count)[products.diagonal().argmax()]
    elif level > loudest:
        weights = weights * (loudest / level)
    return weights.astype(np.float32)
