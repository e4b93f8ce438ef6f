"""Frames of PyAV for live transports, and the samples of those that arrive."""

from fractions import Fraction

import numpy as np
from av import AudioFrame, VideoFrame

_VIDEO_CLOCK = Fraction(1, 90_000)  # seconds, of video in RTP


def video_frame(image: np.ndarray, seconds: Fraction) -> VideoFrame:
    """Makes a frame of an image.

    Args:
        image: uint8 RGB (height, width, 3); an odd last row or column is left out, since 4:2:0
            colour needs even sizes.
        seconds: at which the image is shown.
    """
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), "rgb24")
    frame.pts, frame.time_base = round(seconds / _VIDEO_CLOCK), _VIDEO_CLOCK
    return frame


def audio_frame(samples: np.ndarray, first: int, rate: int) -> AudioFrame:
    """Makes a frame of samples.

    Args:
        samples: int16 (n,), mono.
        first: number of the first sample.
        rate: samples a second.
    """
    frame = AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
    return frame


def samples_of(frame: AudioFrame) -> tuple[np.ndarray, int]:
    """Returns a frame's samples, int16 (n, channels), and their number a second.

    Raises:
        ValueError: the samples are not interleaved 16-bit integers.
    """
    if frame.format.name != "s16":
        raise ValueError(f"audio of the format {frame.format.name}; s16 is needed")
    channels = len(frame.layout.channels)
    return frame.to_ndarray().reshape(-1, channels), frame.sample_rate
