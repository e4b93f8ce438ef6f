"""The audio offset by loudness of speech and motion of the mouth, without a network.

Both are correlated over the whole clip, so a clip of some seconds is enough where
`av_correlation`, which averages correlations of 16 frames, needs many clips. Alone the measure is
unreliable; `video_sync` takes it as a second opinion on a sync model. Audio offsets are positive
where the audio is later than the video.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from lipsync_jax.faces.regions import MOUTH_FACE96, crop_mouth

_SMOOTH, _TREND = 1.0, 12.0  # frames, standard deviations of a Gaussian band-pass filter
_MIN_FRAMES = 20  # least frames of a correlation
_MIN_POWER = 1e-12  # of a correlation; filtered constants have less, by rounding
_AUDIO_FLOOR = 1e-4  # added to a level, of full scale, before its logarithm
_MOTION_FLOOR = 0.5  # added to a motion, grey levels, before its logarithm


class MotionOffset(NamedTuple):
    """An audio offset without a network.

    Attributes:
        frames: frames by which the audio is later than the video; negative where it is earlier.
        correlation: of loudness and motion at that offset.
        correlations: (2 * max_offset + 1,), at offsets of -max_offset to max_offset frames; NaN
            where there is too little audio.
    """

    frames: int
    correlation: float
    correlations: np.ndarray


class MouthMotion:
    """Measures the motion of a mouth while its crops pass by.

        motion = MouthMotion()
        embeddings = sync_model.embed_video(motion.watch(crops))
        motion.values()

    One crop is in memory at a time. Later calls of `watch` continue the clip.
    """

    def __init__(self) -> None:
        self._changes: list[float] = []
        self._before: np.ndarray | None = None

    def watch(self, crops: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yields the crops, uint8 (size, size, 3), and measures the change from each to the next.

        Args:
            crops: of one face, see `regions.MOUTH_FACE96`.
        """
        for crop in crops:
            mouth = crop_mouth(crop, MOUTH_FACE96).astype(np.float32).mean(axis=-1)
            before, self._before = self._before, mouth
            self._changes.append(0.0 if before is None else float(np.abs(mouth - before).mean()))
            yield crop

    def values(self) -> np.ndarray:
        """Returns the mean absolute change of grey levels before each frame, float64 (frames,)."""
        values = np.array(self._changes, np.float64)
        values[:1] = values[1:2]
        return values


def speech_levels(
    samples: np.ndarray, audio_start: int, frames: int, max_offset: int, frame_samples: int
) -> np.ndarray:
    """Computes the loudness of the audio at each frame, and at `max_offset` before and after.

    Args:
        samples: float32 (samples,).
        audio_start: index of the sample at the time of the first frame; may be negative.
        frames: number of frames.
        max_offset: frames.
        frame_samples: samples of a frame.

    Returns:
        float64 (frames + 2 * max_offset,): logarithm of the level of the pre-emphasised audio; NaN
        where there is no audio.
    """
    levels = np.full(frames + 2 * max_offset, np.nan)
    for row in range(len(levels)):
        start = audio_start + (row - max_offset) * frame_samples
        if 0 <= start and start + frame_samples <= len(samples):
            part = samples[start : start + frame_samples].astype(np.float64)
            emphasised = np.diff(part, prepend=samples[start - 1] if start else 0.0)
            levels[row] = np.log(_AUDIO_FLOOR + np.sqrt(np.mean(emphasised**2)))
    return levels


def measure(motion: np.ndarray, levels: np.ndarray, max_offset: int) -> MotionOffset | None:
    """Finds the offset at which motion and loudness correlate most.

    Args:
        motion: (frames,), see `MouthMotion.values`.
        levels: (frames + 2 * max_offset,), see `speech_levels`.
        max_offset: largest offset to try, frames, both ways.

    Returns:
        The offset; None where the clip is too short, or motion or loudness never changes.

    Raises:
        ValueError: the lengths don't fit.
    """
    n = len(motion)
    if len(levels) != n + 2 * max_offset:
        raise ValueError(f"{n} frames need {n + 2 * max_offset} levels, not {len(levels)}")
    moves, loud = _band_pass(np.log(_MOTION_FLOOR + motion)), _band_pass(levels)
    correlations = np.array(
        [_correlation_of_known(moves, loud[k : k + n]) for k in range(2 * max_offset + 1)],
        np.float64,
    )
    if not np.isfinite(correlations).any():
        return None
    best = int(np.nanargmax(correlations))
    return MotionOffset(best - max_offset, float(correlations[best]), correlations)


def pearson(a: np.ndarray, b: np.ndarray, min_power: float = 0.0) -> float:
    """Computes Pearson's correlation of two signals.

    Args:
        a: float64 (n,).
        b: float64 (n,).
        min_power: product of the signals' sums of squares, up to which they count as constant.

    Returns:
        Between -1 and 1; NaN where a signal is constant.
    """
    a, b = a - a.mean(), b - b.mean()
    power = (a @ a) * (b @ b)
    return float(a @ b / np.sqrt(power)) if power > min_power else float("nan")


def _band_pass(values: np.ndarray) -> np.ndarray:
    """Removes noise and slow changes of a signal; gaps (NaN) stay, and count as its mean."""
    known = np.isfinite(values)
    if not known.any():
        return values
    filled = np.where(known, values, values[known].mean())
    smooth, trend = (_gaussian_filter(filled, std) for std in (_SMOOTH, _TREND))
    return np.where(known, smooth - trend, np.nan)


def _gaussian_filter(values: np.ndarray, std: float) -> np.ndarray:
    """Computes `scipy.ndimage.gaussian_filter1d`, whose import takes half a second.

    The kernel ends at four standard deviations, and the values are mirrored at the ends.
    """
    radius = int(4 * std + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / std) ** 2)
    padded = np.pad(values, radius, mode="symmetric")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


def _correlation_of_known(a: np.ndarray, b: np.ndarray) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < _MIN_FRAMES:
        return float("nan")
    return pearson(a[known], b[known], _MIN_POWER)
