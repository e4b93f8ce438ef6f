"""Reads a raw video of a corpus: its audio, and its frames at 25 a second."""

import warnings
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from lipsync_jax.data_prep.corpora import Video, stub_fault
from lipsync_jax.data_prep.quality import SILENCE_THRESHOLD
from lipsync_jax.data_prep.settings import FRAME_RATE
from lipsync_jax.media import audio, video_reader


def load_audio(video: Video, has_audio: bool) -> tuple[np.ndarray, int] | None:
    """The video's audio or, if it has none or only silence, that of the file beside it."""
    beside = (video.audio_path, video.path.with_suffix(".wav"))
    paths = [path for path in (video.path if has_audio else None, *beside)
             if path is not None and path.is_file()]  # fmt: skip
    for number, path in enumerate(paths, 1):
        try:
            if fault := stub_fault(path):
                raise ValueError(f"{path} is {fault}")
            samples, rate = audio.load_from_video_start(path)
        except ValueError:
            if number == len(paths):
                raise
            continue
        if number == len(paths) or np.abs(samples).max() * 32768 >= SILENCE_THRESHOLD:
            if path == video.audio_path:
                warnings.warn(f"audio of {path}, whose offset is not known", stacklevel=2)
            return samples, rate
    return None


def read_frames(video: Video) -> Iterator[video_reader.Frame]:
    """The used part of a video at 25 frames a second; times from its first used frame."""
    # Times of lists are decimal: 1.6 must not be a little more than frame 40.
    start = Fraction(video.start).limit_denominator(1000)
    end = None if video.end is None else Fraction(video.end).limit_denominator(1000)
    frames = video_reader.read_frames(video.path, start)

    def used() -> Iterator[video_reader.Frame]:
        for frame in frames:
            if end is not None and frame.time >= end:
                return
            image = _cut_out(video, frame.image) if video.region else frame.image
            yield video_reader.Frame(frame.time - start, image, frame.index)

    return video_reader.resample_fps(used(), FRAME_RATE)


def _cut_out(video: Video, image: np.ndarray) -> np.ndarray:
    """Returns the video's region of an image, as far as it lies in the image."""
    x, y, width, height = (round(value * len(image)) for value in video.region or ())
    part = image[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)]
    if not part.size:
        raise ValueError(
            f"{video.path} has {image.shape[1]}x{image.shape[0]} pixels, of which the crop of its "
            f"list ({width}x{height} at {x}, {y}) has none; fetch the video in its original shape"
        )
    return np.ascontiguousarray(part)
