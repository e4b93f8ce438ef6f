"""Correlates audio changes and mouth motion over shifts (Chen et al. 2018, "At a Glance", Fig. 4).

A shift is positive where motion follows the audio. It is the negative of an audio offset, which is
positive where the audio is later than the video.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lipsync_jax.data.audio_windows import log_mel_windows
from lipsync_jax.data.clip import Clip, decode_frames
from lipsync_jax.evaluation.sync.motion_offset import pearson
from lipsync_jax.faces.regions import MOUTH_FLOW, crop_mouth
from lipsync_jax.media import audio
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.ops import luminance, optical_flow

SHIFTS = range(-7, 8)  # frames
CHUNK = 16  # frames per correlation, the length of the paper's clips


class ShiftCorrelation(NamedTuple):
    """Correlations of one clip.

    Attributes:
        correlations: float64 (len(shifts),), mean correlation at each shift.
        best_shift: shift of the largest correlation, frames; positive where motion follows the
            audio (the audio offset is `-best_shift`).
    """

    correlations: np.ndarray
    best_shift: int


def audio_change(clip: Clip) -> np.ndarray:
    """Computes the mean absolute change of the log-mel spectrum between frames, (frames - 1,)."""
    spectra = log_mel_windows(
        clip.samples(audio.LOG_MEL_RATE), range(len(clip.frames)), clip.frame_rate
    )
    return np.abs(np.diff(spectra, axis=0)).mean(axis=(1, 2))


def mouth_motion(clip: Clip) -> np.ndarray:
    """Computes the mean length of Farneback's optical flow of the mouth, pixels, (frames - 1,)."""
    frames = decode_frames(clip, range(len(clip.frames)))
    return np.asarray(_flow_magnitudes()(crop_mouth(frames, MOUTH_FLOW)))


@functools.cache
def _flow_magnitudes() -> Callable[[np.ndarray], jax.Array]:
    def magnitudes(frames: jax.Array) -> jax.Array:
        grey = frames[..., ::-1].astype(jnp.float32) @ jnp.asarray(luminance.RGB_WEIGHTS) / 255
        flow = optical_flow.farneback(grey[:-1], grey[1:])
        return jnp.linalg.norm(flow, axis=-1).mean(axis=(1, 2))

    return jit(magnitudes)


def correlate(
    audio_changes: np.ndarray,
    motion_magnitudes: np.ndarray,
    shifts: Sequence[int] = SHIFTS,
    chunk: int = CHUNK,
) -> ShiftCorrelation:
    """Correlates audio changes with mouth motion over chunks of time, at each shift.

    r(k) = mean over chunks c of Pearson(audio[c], motion[c + k]) (Chen et al. 2018, section 3.2 and
    Fig. 4). Chunks start at every frame and are equal for all shifts; chunks in which either does
    not vary are left out.

    Args:
        audio_changes: (n,), change of the audio between frames.
        motion_magnitudes: (n,), motion between frames.
        shifts: frames by which motion follows the audio; negative: precedes.
        chunk: frames of a chunk.

    Raises:
        ValueError: lengths differ, the clip is too short for all shifts, or nothing varies.
    """
    audio_changes, motion_magnitudes = (
        np.asarray(audio_changes, np.float64),
        np.asarray(motion_magnitudes, np.float64),
    )
    if audio_changes.shape != motion_magnitudes.shape or audio_changes.ndim != 1:
        raise ValueError(
            f"audio {audio_changes.shape} and motion {motion_magnitudes.shape} must be of one "
            "length"
        )
    first, last = max(0, -min(shifts)), len(audio_changes) - max(0, *shifts)
    starts = range(first, last - chunk + 1)
    if not starts:
        raise ValueError(
            f"{len(audio_changes)} frames hold no chunk of {chunk} with shifts from {min(shifts)} "
            f"to {max(shifts)}"
        )
    found = np.array(
        [
            [
                pearson(audio_changes[s : s + chunk], motion_magnitudes[s + k : s + k + chunk])
                for s in starts
            ]
            for k in shifts
        ]
    )
    varied = np.isfinite(found).all(axis=0)
    if not varied.any():
        raise ValueError("audio or video never changes, so they can't be correlated")
    means = found[:, varied].mean(axis=1)
    return ShiftCorrelation(means, int(shifts[int(np.argmax(means))]))


def measure(clip: Clip) -> ShiftCorrelation:
    """Correlates a clip's audio and mouth motion, see `correlate`.

    Raises:
        ValueError: the clip is too short, or nothing in it changes.
    """
    return correlate(audio_change(clip), mouth_motion(clip))
