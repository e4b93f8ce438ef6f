"""Animates a face: the mouth follows the articulation, head and eyes move at random."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from lipsync_jax.data_prep.synthetic.articulation import CONTROL_RATE, Articulation
from lipsync_jax.data_prep.synthetic.face.portrait import FaceState

SHUTTER = 0.25  # the middle of a half-open shutter, frames after a frame's time
MOUTH_FIELDS = ("jaw", "opening", "width", "rounding", "tuck", "tongue")
_HEAD_DRIFT = {  # slow motion: standard deviation, and smoothing in seconds
    "yaw": (0.075, 0.40),
    "pitch": (0.035, 0.35),
    "roll": (0.028, 0.45),
    "shift_x": (0.035, 0.50),
    "shift_y": (0.022, 0.50),
    "zoom": (0.010, 0.80),
    "camera_x": (0.006, 0.25),
    "camera_y": (0.006, 0.25),
}


def animate_face(
    articulation: Articulation, frames: int, frame_rate: float, rng: np.random.Generator
) -> list[FaceState]:
    """Computes the face in every frame.

    Args:
        articulation: of the utterance; starts with frame 0.
        frames: number of frames.
        frame_rate: frames a second.
        rng: of head motion, blinks and gaze.

    Returns:
        `frames` states.
    """
    times = (np.arange(frames) + SHUTTER) / frame_rate
    mouth = {name: articulation.interpolate(name, times) for name in MOUTH_FIELDS}
    liveliness = rng.uniform(0.5, 1.1)
    drift = {
        name: liveliness * spread * _drift(rng, frames, seconds * frame_rate)
        for name, (spread, seconds) in _HEAD_DRIFT.items()
    }
    stress = _stress(articulation, times)
    drift["yaw"] += rng.normal(0, 0.06)  # few people face the camera squarely
    drift["pitch"] += rng.normal(0, 0.02) + rng.uniform(0.0, 0.03) * stress
    drift["roll"] += rng.normal(0, 0.02)
    blink = _blinks(times, rng)
    gaze = _gaze_shifts(times, rng)
    brow = np.clip(0.35 * stress * rng.uniform(0, 1.5) + 0.2 * _drift(rng, frames, 10), -1, 1)
    return [
        FaceState(
            **{name: float(values[i]) for name, values in mouth.items()},
            blink=float(blink[i]),
            gaze=(float(gaze[i, 0]), float(gaze[i, 1])),
            brow=float(brow[i]),
            yaw=float(drift["yaw"][i]),
            pitch=float(drift["pitch"][i]),
            roll=float(drift["roll"][i]),
            shift=(float(drift["shift_x"][i]), float(drift["shift_y"][i])),
            zoom=float(1 + drift["zoom"][i]),
            camera=(float(drift["camera_x"][i]), float(drift["camera_y"][i])),
        )
        for i in range(frames)
    ]


def _drift(rng: np.random.Generator, frames: int, smooth: float) -> np.ndarray:
    """Samples smooth noise of unit variance; `smooth` is the Gaussian's sigma in frames."""
    margin = int(4 * smooth)
    noise = rng.normal(size=frames + 2 * margin)
    # Smoothing leaves 1 / (2 sigma sqrt(pi)) of white noise's variance.
    return gaussian_filter1d(noise, smooth)[margin:][:frames] * np.sqrt(2 * smooth * np.sqrt(np.pi))


def _stress(articulation: Articulation, times: np.ndarray) -> np.ndarray:
    """Computes pitch accents, about -1 to 1, which brows and head follow."""
    semitones = 12 * np.log2(articulation.pitch / np.median(articulation.pitch))
    spoken = gaussian_filter1d(semitones * np.minimum(articulation.voice, 1), 16, mode="nearest")
    seconds = np.arange(len(spoken)) / CONTROL_RATE
    return np.clip(np.interp(times, seconds, spoken) / 3, -1, 1)


def _blinks(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Samples blinks: lids close within about 0.1 s and open within 0.2 s, every few seconds."""
    lids = np.zeros_like(times)
    moment = rng.uniform(-1.0, 3.0)
    while moment < times[-1] + 0.2:
        fall, rise = rng.uniform(0.05, 0.07), rng.uniform(0.09, 0.13)
        since = times - moment
        lids = np.maximum(lids, np.exp(-0.5 * (since / np.where(since < 0, fall, rise)) ** 2))
        moment += rng.choice([0.35, 1.0], p=[0.12, 0.88]) * rng.uniform(1.2, 5.0)
    # Closed lids stay closed for a frame or two.
    return np.clip(1.25 * lids - 0.06, 0, 1)


def _gaze_shifts(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Samples fixations and saccades; (frames, 2)."""
    gaze, moment = np.zeros((len(times), 2)), 0.0
    while moment < times[-1]:
        place = rng.normal(0, (0.25, 0.12)) if rng.random() < 0.75 else rng.normal(0, (0.8, 0.3))
        gaze[times >= moment] = np.clip(place, -1, 1)
        moment += rng.uniform(0.4, 1.8)
    return gaze
