"""Tiny media files, written by PyAV alone, independent of the project's own writer."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT = 64, 48
TICK = Fraction(1, 90_000)


def uniform_times(
    count: int, rate: Fraction | int = 25, start: Fraction | int = 0
) -> list[Fraction]:
    """Returns the times of `count` frames."""
    return [start + i / Fraction(rate) for i in range(count)]


def quadrants() -> np.ndarray:
    """Returns uint8 RGB (48, 64, 3): red, green over blue, white."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:24, :32, 0] = image[:24, 32:, 1] = image[24:, :32, 2] = 255
    image[24:, 32:] = 255
    return image


def grey_image(index: int) -> np.ndarray:
    """Returns an image whose grey level encodes its index."""
    return np.full((HEIGHT, WIDTH, 3), 10 + 8 * (index % 30), np.uint8)


def click(at: Fraction | float, seconds: float, rate: int) -> np.ndarray:
    """Returns float32 silence of some seconds with a short, loud click."""
    samples = np.zeros(round(seconds * rate), np.float32)
    samples[round(at * rate) :][: rate // 1000] = 0.9
    return samples


def tone(hertz: float, seconds: float, rate: int) -> np.ndarray:
    """Returns a float32 sine of amplitude 0.5."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype("f4")


def write_media(
    path: Path,
    times: Sequence[Fraction] = (),
    samples: np.ndarray | None = None,
    *,
    rate: int = 48_000,
    audio_start: Fraction | int = 0,
    codec: str = "libx264",
    audio_codec: str = "aac",
    tick: Fraction = TICK,
    rotation: int = 0,
    images: Sequence[np.ndarray] | None = None,
) -> Path:
    """Writes frames, by default `grey_image`, and audio, (samples,) or (samples, channels)."""
    with av.open(str(path), "w") as container:
        video = audio = None
        if len(times):
            video = container.add_stream(codec, rate=25, options={"crf": "10"})
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            video.codec_context.time_base = tick
            if rotation:
                video.set_display_rotation(rotation)
        if samples is not None:
            samples = samples[:, None] if samples.ndim == 1 else samples
            layout = {1: "mono", 2: "stereo"}[samples.shape[1]]
            audio = container.add_stream(audio_codec, rate=rate, layout=layout)
        container.start_encoding()
        for index, time in enumerate(times):
            image = grey_image(index) if images is None else images[index]
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(time / tick), tick
            container.mux(video.encode(frame))
        if video:
            container.mux(video.encode(None))
        if audio:
            encode_audio(container, audio, samples, rate, round(audio_start * rate))
    return path


def encode_grey_images(container, stream, count):
    """Encodes `grey_image` 0, 1, ... into a stream, 25 a second."""
    for index in range(count):
        frame = av.VideoFrame.from_ndarray(grey_image(index))
        frame.pts, frame.time_base = index, Fraction(1, 25)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def encode_audio(container, stream, samples, rate, position):
    """Encodes (samples, channels) into a stream, starting at a position in samples."""
    context = stream.codec_context
    size = context.frame_size or 1024
    resampler = av.AudioResampler(context.format.name, context.layout.name, rate, frame_size=size)
    planar = np.ascontiguousarray(samples.T.astype(np.float32))
    planar = av.AudioFrame.from_ndarray(planar, "fltp", context.layout.name)
    planar.sample_rate = rate
    for frame in [*resampler.resample(planar), *resampler.resample(None)]:
        frame.pts, frame.time_base = position, Fraction(1, rate)
        position += frame.samples
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
