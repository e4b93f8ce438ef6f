"""The quality filter of the preparation: size, blur, silence, truncation, off-screen voice.

LatentSync's filter is a network, hyperIQA >= 40 of 100, which this package does not hold; the
variance of the Laplacian removes clips that are visibly out of focus, and no others.
"""

import cv2
import numpy as np

from lipsync_jax.data_prep.settings import FRAME_RATE, ExtractionSettings
from lipsync_jax.media import audio, speech_activity

SILENCE_THRESHOLD = 33  # int16 steps: 60 dB below full scale
SHARPNESS_STEP = 5  # frames from one measured crop to the next
_SHARPNESS_SIZE = 96  # pixels: crops are compared at one size
# Least prominence of a track's offset in one of its clips, relative to that in the whole track. Of
# GRID, the right voice has 0.6 to 1.2, another speaker's voice less than 0.25 in 8 of 11 cases.
MIN_RELATIVE_PROMINENCE = 0.25


def sharpness(bgr: np.ndarray) -> float:
    """Computes the variance of the Laplacian (Pech-Pacheco et al. 2000) of a crop.

    Args:
        bgr: uint8 (height, width, 3); resized to 96 x 96 pixels.

    Returns:
        Squared grey levels; higher is sharper.
    """
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(grey, (_SHARPNESS_SIZE, _SHARPNESS_SIZE), interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(small, cv2.CV_64F).var())


def outside_fraction(boxes: np.ndarray, height: int, width: int) -> float:
    """Computes the mean fraction of boxes (frames, 4) that lies outside of the image."""
    inside = np.clip(boxes, 0, [width, height, width, height])
    sizes, visible = (np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (boxes, inside))
    return float(1 - (visible / np.maximum(sizes, 1e-9)).mean())


def problem(
    settings: ExtractionSettings,
    *,
    face_height: float,
    outside: float,
    sharpness: float,
    samples: np.ndarray,
    rate: int,
    relative_prominence: float | None,
) -> tuple[str, str] | None:
    """Returns why a clip is rejected, as (reason, detail), or None.

    Args:
        settings: with the thresholds.
        face_height: mean height of the face, pixels of the video.
        outside: see `outside_fraction`.
        sharpness: mean of `sharpness` over some crops.
        samples: int16 (samples,).
        rate: samples a second.
        relative_prominence: `MeasuredTrack.relative_prominence`; None where no offset is known.
    """
    if face_height < settings.min_face_height:
        least = settings.min_face_height
        return "face too small", f"{face_height:.0f} pixels high, of --min-face-height {least:g}"
    if outside > settings.max_outside_fraction:
        most = settings.max_outside_fraction
        detail = f"{outside:.0%} of the face box is outside of the image"
        return "face cut off", f"{detail}, of --max-outside-fraction {most:g}"
    if sharpness < settings.min_sharpness:
        least = settings.min_sharpness
        return "blurred", f"variance of the Laplacian {sharpness:.1f}, of --min-sharpness {least:g}"
    if np.abs(samples).max() < SILENCE_THRESHOLD:
        return "silent", ""
    is_low = relative_prominence is not None and relative_prominence < MIN_RELATIVE_PROMINENCE
    if is_low and _speech_seconds(samples, rate) >= 1:
        return (
            "off-screen voice",
            f"{relative_prominence:.2f} of the prominence in the face's track",
        )
    return None


def _speech_seconds(samples: np.ndarray, rate: int) -> float:
    at_16k = audio.resample(np.asarray(samples, np.float32) / 32768, rate, audio.SAMPLE_RATE)
    frames = int(len(at_16k) * FRAME_RATE / audio.SAMPLE_RATE)
    active = speech_activity.detect(at_16k, audio.SAMPLE_RATE, FRAME_RATE, frames)
    return float(int(np.count_nonzero(active)) / FRAME_RATE)
