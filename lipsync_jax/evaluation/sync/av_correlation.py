"""By how many frames the picture's motion follows the sound's changes ("At a Glance", Fig. 4)."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lipsync_jax.data.audio_windows import log_mel_windows
from lipsync_jax.data.clip import Clip, decode_frames
from lipsync_jax.media import audio
from lipsync_jax.nn.cpu.jit import jit
from lipsync_jax.ops import optical_flow

SHIFTS = range(-7, 8)  # frames
CHUNK = 16  # frames that are correlated at a time, as the paper's networks see them

# Rows and columns of a face crop that hold the mouth, as shares.
ROWS, COLUMNS = (0.5, 1.0), (0.2, 0.8)


class Delay(NamedTuple):
    """What `measure` finds in one clip.

    Attributes:
        correlations: (len(shifts),), mean correlation at each shift.
        best: the shift with the largest, in frames; positive where motion comes after sound.
    """

    correlations: np.ndarray
    best: int


def sound_change(clip: Clip) -> np.ndarray:
    """Mean absolute change of the log-mel spectrum from each frame to the next, (frames - 1,)."""
    heard = log_mel_windows(
        clip.samples(audio.LOG_MEL_RATE), range(len(clip.frames)), clip.frame_rate
    )
    return np.abs(np.diff(heard, axis=0)).mean(axis=(1, 2))


def mouth_motion(clip: Clip) -> np.ndarray:
    """Mean length of the optical flow (Farneback's) around the mouth, pixels, (frames - 1,)."""
    frames = decode_frames(clip, range(len(clip.frames)))
    (top, bottom), (left, right) = (
        (round(low * size), round(high * size))
        for (low, high), size in zip((ROWS, COLUMNS), frames.shape[1:3], strict=True)
    )
    return np.asarray(_lengths()(frames[:, top:bottom, left:right]))


@functools.cache
def _lengths() -> Callable[[np.ndarray], jax.Array]:
    def lengths(frames: jax.Array) -> jax.Array:
        grey = frames[..., ::-1].astype(jnp.float32) @ jnp.asarray(optical_flow.LUMA) / 255
        moved = optical_flow.farneback(grey[:-1], grey[1:])
        return jnp.linalg.norm(moved, axis=-1).mean(axis=(1, 2))

    return jit(lengths)


def correlate(
    sound: np.ndarray, motion: np.ndarray, shifts: Sequence[int] = SHIFTS, chunk: int = CHUNK
) -> Delay:
    """Correlates both over chunks of time, with the motion moved against the sound.

    r(k) = mean over chunks c of Pearson(sound[c], motion[c + k]) (Chen et al. 2018, section 3.2 and
    Fig. 4). Chunks start at every moment and are the same for all shifts; those in which either
    does not vary are left out.

    Args:
        sound: (moments,), how much the sound changes.
        motion: (moments,), how much the picture moves.
        shifts: frames by which motion may come after sound; negative: before.
        chunk: moments a chunk.

    Raises:
        ValueError: lengths differ, no chunk has room for all shifts, or nothing varies.
    """
    sound, motion = np.asarray(sound, np.float64), np.asarray(motion, np.float64)
    if sound.shape != motion.shape or sound.ndim != 1:
        raise ValueError(f"sound {sound.shape} and motion {motion.shape} must be of one length")
    first, last = max(0, -min(shifts)), len(sound) - max(0, *shifts)
    starts = range(first, last - chunk + 1)
    if not starts:
        raise ValueError(
            f"{len(sound)} moments hold no chunk of {chunk} with shifts from {min(shifts)} to "
            f"{max(shifts)}"
        )
    found = np.array(
        [[_pearson(sound[s : s + chunk], motion[s + k : s + k + chunk]) for s in starts]
         for k in shifts]
    )  # fmt: skip
    varied = np.isfinite(found).all(axis=0)
    if not varied.any():
        raise ValueError("sound or picture never changes, so they can't be correlated")
    means = found[:, varied].mean(axis=1)
    return Delay(means, int(shifts[int(np.argmax(means))]))


def measure(clip: Clip) -> Delay:
    """`correlate` of a clip's sound and mouth.

    Raises:
        ValueError: the clip is too short, or nothing in it changes.
    """
    return correlate(sound_change(clip), mouth_motion(clip))


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    power = (a @ a) * (b @ b)
    return float(a @ b / np.sqrt(power)) if power > 0 else float("nan")
