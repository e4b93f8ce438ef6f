"""Reads the audio samples of a file in chunks, and mixes channels down."""

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

_TIMESTAMP_TOLERANCE = Fraction(1, 20)  # seconds between timestamps and the sample count
# Default layouts of unnamed channels (plain WAV and AVI), as in FFmpeg and players.
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_RATES = range(4_000, 768_001)  # plausible samples a second
_MAX_BACKWARD_JUMP = Fraction(1, 10)  # seconds; a larger jump back means that the clock restarted
_MAX_SILENCE = 60  # seconds of a gap, at most, in a file of unknown length
_END_TOLERANCE = Fraction(1, 4)  # seconds by which audio may end before the header's end
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
# Formats without timestamps: FFmpeg counts samples, wrongly where the rate changes.
_UNTIMED = frozenset({"mp3", "aac", "ac3", "eac3", "loas", "amr", "amrnb", "amrwb"})
# Weights of the downmix, which keeps the level of speech in the centre, or in left and right.
_CHANNEL_WEIGHTS = {"FC": 1.0, "FL": 0.5, "FR": 0.5, "LFE": 0.0, "LFE2": 0.0}
_SURROUND_WEIGHT = 0.35
_SCAN_SECONDS = 60  # seconds of audio that determine the weights
_CANCELLATION_LEVEL = 0.1  # of the loudest channel's level: a lower sum means cancellation


class SampleStream:
    """The samples of a file's best audio stream, in chunks, placed by their timestamps.

    Sample 0 is at `start`; earlier samples are cut and gaps (a late start, lost packets) are
    silence, so that sample n is always n / rate seconds after `start`. Encoder priming is dropped
    by the decoder. Where the rate or the number of channels changes half-way, samples are converted
    to the stream's initial ones.

    Attributes:
        rate: samples a second.
        channels: number of channels.
        layout: FFmpeg's name of the channels, e.g. `stereo`; empty for more than eight unnamed
            channels.
        uniform: whether rate, channels and clock have not changed so far.
        lost: seconds of audio that could not be decoded: gaps, or a missing end.

    Iterating, once, yields float32 (samples, channels), full scale 1.
    """

    def __init__(
        self, path: str | os.PathLike, start: Fraction | None = None, quiet: bool = False
    ) -> None:
        """Opens the file.

        Args:
            path: any container that FFmpeg reads.
            start: seconds of the container's clock of sample 0; None means the start of the audio.
            quiet: do not warn of damage.

        Raises:
            FileNotFoundError, ValueError: see `open_container`; or there is no audio stream, or its
                sample rate is implausible.
        """
        self.path, self.start = path, start
        self.uniform, self.lost, self._quiet = True, Fraction(0), quiet
        self._damage = packets.DecodeErrors()
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
        length = self._container.duration  # microseconds or None; for joined files, of the first
        length = None if packets.clock_shifts(self._container, self.path) else length
        limit = length and length * self.rate // 1_000_000 + self.rate
        jitter, backward = (
            int(_TIMESTAMP_TOLERANCE * self.rate),
            int(_MAX_BACKWARD_JUMP * self.rate),
        )
        untimed = self._container.format.name in _UNTIMED
        with self._container:
            decoded = packets.decode_packets(self._container, self._stream, self.path, self._damage)
            for time, samples in self._converted_frames(decoded):
                if start is None:
                    start = time
                gap = 0
                if time is not None and not (untimed and position):
                    gap = round((time - start) * self.rate) + skew - position
                max_gap = _MAX_SILENCE * self.rate if limit is None else limit - position
                if position and not -backward <= gap <= max_gap:
                    skew, gap = skew - gap, 0  # the clock restarted: continue without a gap
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
            missing = (self._header_end_time() or 0) - (start or 0) - Fraction(position, self.rate)
            self.lost += (
                missing if position and missing > _END_TOLERANCE else self._damage.silent_seconds
            )
        self._warn()

    def _header_end_time(self) -> Fraction | None:
        """Returns the header's end of the audio, seconds of the container's clock, if known."""
        tick, header_duration = containers.rational(self._stream.time_base), self._stream.duration
        if self._container.format.name.startswith("mov") and header_duration and tick:
            return (header_duration + (self._stream.start_time or 0)) * tick
        text = containers.tags(self._stream).get("DURATION", "")  # as Matroska has it
        if match := _CLOCK.fullmatch(text):
            hours, minutes, seconds = map(Fraction, match.groups())
            return hours * 3600 + minutes * 60 + seconds
        return None

    def _warn(self) -> None:
        count = self._damage.packets
        messages = [f"{count} damaged audio packets were skipped"] if count else []
        messages += [f"{float(self.lost):.2f} s of audio are lost"] if self.lost else []
        if messages and not self._quiet:
            warnings.warn(f"{self.path}: {'; '.join(messages)}", stacklevel=3)

    def _converted_frames(
        self, frames: Iterator[av.AudioFrame]
    ) -> Iterator[tuple[Fraction | None, np.ndarray]]:
        """Yields samples at the stream's rate and channels, with their time where known."""
        resampler, own = None, self.rate
        for frame in frames:
            samples, time = _samples(frame), packets.frame_time(frame)
            if frame.sample_rate != own:
                if resampler is not None:
                    yield None, resampler.resample_chunk(self._no_samples(), last=True)
                own, resampler = frame.sample_rate, None
                if own != self.rate:
                    resampler = soxr.ResampleStream(own, self.rate, self.channels, quality="HQ")
            elif resampler is not None:
                time = None  # the resampler delays samples
            if samples.shape[1] != self.channels:
                samples = sum_channels(samples, _static_weights(frame.layout))
                samples = np.repeat(samples[:, None], self.channels, axis=1)
                self.uniform = False
            if resampler is not None:
                samples = resampler.resample_chunk(np.ascontiguousarray(samples))
                self.uniform = False
            yield time, samples
        if resampler is not None:
            yield None, resampler.resample_chunk(self._no_samples(), last=True)

    def _no_samples(self) -> np.ndarray:
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
    """Returns whether a file's audio can be copied by packets: one rate, one layout, one clock.

    Files of concatenable formats are decoded to their end, once.

    Raises:
        FileNotFoundError, ValueError: see `SampleStream`.
    """
    stat = containers.check_file(path).stat()
    return _is_uniform(os.fspath(path), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _is_uniform(path: str, size: int, modified: int) -> bool:
    del size, modified  # keys of the cache: the file may change
    with containers.open_container(path) as container:
        if container.format.name not in _UNTIMED | packets.CONCATENABLE_FORMATS:
            return True
        if packets.clock_shifts(container, path):
            return False
    stream = SampleStream(path, quiet=True)
    return all(stream.uniform for _ in stream) and stream.uniform


def sum_channels(samples: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mixes channels down to one.

    Args:
        samples: float32 (samples, channels).
        weights: float32 (channels,), see `mono_weights`.

    Returns:
        float32 (samples,), independent of the division into chunks.
    """
    return samples[:, 0] if len(weights) == 1 else (samples * weights).sum(axis=1)


def mono_weights(path: str | os.PathLike) -> np.ndarray:
    """Returns the weights of a file's channels in the downmix to one channel of speech.

    Two channels are averaged. Of more, the weights are 1 for the centre, 0.5 for left and right,
    0.35 for surround and 0 for bass; the sum is scaled to be no louder than its loudest channel.
    Where channels cancel, as in stereo with one side inverted, the loudest channel is used alone.
    The first minute of audio determines the weights.

    Returns:
        float32 (channels,).

    Raises:
        FileNotFoundError, ValueError: see `SampleStream`.
    """
    stat = containers.check_file(path).stat()
    return _mono_weights(os.fspath(path), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _mono_weights(path: str, size: int, modified: int) -> np.ndarray:
    del size, modified  # keys of the cache: the file may change
    stream = SampleStream(path, quiet=True)
    if stream.channels == 1:
        return np.ones(1, np.float32)
    products, num_scanned = np.zeros((stream.channels,) * 2), 0
    for samples in stream:
        if samples.any():
            products += samples.T.astype(np.float64) @ samples
            num_scanned += len(samples)
        if num_scanned > _SCAN_SECONDS * stream.rate:
            break
    return _weights(stream.layout, products)


def _static_weights(layout: av.AudioLayout) -> np.ndarray:
    return _weights(_layout_name(layout), np.zeros((layout.nb_channels,) * 2))


def _weights(layout: str, products: np.ndarray) -> np.ndarray:
    count = len(products)
    weights = np.full(count, 1 / count)
    names = [channel.name for channel in av.AudioLayout(layout).channels] if layout else []
    if count > 2 and len(names) == count:
        weights = np.array([_CHANNEL_WEIGHTS.get(name, _SURROUND_WEIGHT) for name in names])
    level = np.sqrt(max(weights @ products @ weights, 0.0))
    loudest = np.sqrt(products.diagonal().max())
    if level < _CANCELLATION_LEVEL * loudest:
        weights = np.eye(count)[products.diagonal().argmax()]
    elif level > loudest:
        weights = weights * (loudest / level)
    return weights.astype(np.float32)
