"""Random changes of light, camera, room and microphone: augmentation for data of few people.

Every frame of an example changes alike, so that a clip stays in sync.
"""

import cv2
import numpy as np

from lipsync_jax.media.audio import MEL_RATE
from lipsync_jax.ops.luminance import BGR_WEIGHTS

_DECIBELS = 12.5  # a unit of the mel


def degrade_faces(frames: np.ndarray, rng: np.random.Generator, magnitude: float) -> np.ndarray:
    """Changes gamma, saturation and white balance, then blurs, adds noise and compresses.

    Args:
        frames: uint8 (n, height, width, 3), BGR.
        rng: source of randomness.
        magnitude: 0 changes nothing; 1 means a gamma of 0.67 to 1.5, saturation by up to 50 %, a
            white balance of up to 20 % between blue and red, and in three of ten examples each a
            Gaussian blur of up to 1.2 pixels, noise of up to 6 levels, and JPEG of quality 30
            to 95.

    Returns:
        uint8 (n, height, width, 3).
    """
    if not magnitude:
        return frames
    gamma = 1.5 ** (magnitude * rng.uniform(-1, 1))
    saturation = 1 + 0.5 * magnitude * rng.uniform(-1, 1)
    warmth = 1 + 0.2 * magnitude * rng.uniform(-1, 1)
    blur = 1.2 * magnitude * rng.random() * (rng.random() < 0.3)
    noise = 6 * magnitude * rng.random() * (rng.random() < 0.3)
    quality = 95 - round(65 * magnitude * rng.random())
    compressed = rng.random() < 0.3
    levels = 255 * np.linspace(0, 1, 256) ** gamma
    gains = np.sqrt([1 / warmth, 1.0, warmth])
    table = np.clip(levels[:, None] * gains, 0, 255).astype(np.uint8).reshape(1, 256, 3)
    # One matrix moves each colour towards or away from the pixel's grey.
    matrix = saturation * np.eye(3) + (1 - saturation) * np.tile(BGR_WEIGHTS, (3, 1))
    changed = np.empty_like(frames)
    for i, frame in enumerate(frames):
        image = cv2.transform(cv2.LUT(frame, table), matrix)
        if blur > 0.2:
            image = cv2.GaussianBlur(image, (0, 0), blur)
        if noise:
            image = np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8)
        if compressed:
            data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
            assert decoded is not None  # encoded just before
            image = decoded
        changed[i] = image
    return changed


def jitter_boxes(frames: np.ndarray, rng: np.random.Generator, magnitude: float) -> np.ndarray:
    """Moves the crops of one window as a detector's box moves between two moments.

    Args:
        frames: uint8 (n, height, width, 3).
        rng: source of randomness.
        magnitude: 0 changes nothing; 1 means up to 2 % of shift and 3 % of scale on each axis.

    Returns:
        uint8 (n, height, width, 3).
    """
    if not magnitude:
        return frames
    height, width = frames.shape[1:3]
    u = rng.uniform(-magnitude, magnitude, 4)
    scale = 1 + 0.03 * u[:2]
    middle = np.array([width, height]) / 2
    shift = (1 - scale) * middle + 0.02 * u[2:] * [width, height]
    matrix = np.column_stack([np.diag(scale), shift])
    moved = [
        cv2.warpAffine(frame, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        for frame in frames
    ]
    return np.stack(moved)


def degrade_mel(mel: np.ndarray, rng: np.random.Generator, magnitude: float) -> np.ndarray:
    """Changes the length of the vocal tract, the room and the noise of a whole clip's mel.

    Args:
        mel: float32 (columns, bins) in [-4, 4], 12.5 dB a unit.
        rng: source of randomness.
        magnitude: 0 changes nothing; 1 means formants moved by up to 4 bins, reverberation of 0.1
            to 0.5 s mixed in at up to -6 dB in half of the examples, and steady noise up to 10 dB
            below the mean level in half of the examples.

    Returns:
        float32 (columns, bins) in [-4, 4].
    """
    if not magnitude:
        return mel
    bins = mel.shape[-1]
    stretch = 1 + 0.05 * magnitude * rng.uniform(-1, 1)
    places = np.clip(np.arange(bins) * stretch, 0, bins - 1)
    low = np.minimum(places.astype(int), bins - 2)
    part = (places - low).astype(np.float32)
    changed = mel[:, low] * (1 - part) + mel[:, low + 1] * part
    reverberant, noisy = rng.random(2) < 0.5 * min(1.0, magnitude)
    seconds, wet = rng.uniform(0.1, 0.5), rng.uniform(0, 0.25)
    below = rng.uniform(10, 40)
    tilt = np.linspace(0, rng.uniform(-15, 5), bins)
    if reverberant or noisy:
        power = 10 ** (changed.astype(np.float64) * (_DECIBELS / 10))
        if reverberant:
            keep = 10 ** (-6 / (seconds * MEL_RATE))  # of a column's power in the next: 60 dB
            from scipy import signal  # here: slow to import, and used in training only

            tail = signal.lfilter([0, 1 - keep], [1, -keep], power, axis=0)
            power += 4 * wet * tail
        if noisy:
            power += power.mean() * 10 ** ((tilt - below) / 10)
        changed = np.log10(np.maximum(power, 1e-8)) * (10 / _DECIBELS)
    return np.clip(changed, -4, 4).astype(np.float32)
