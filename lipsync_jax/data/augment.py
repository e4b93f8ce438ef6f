"""Random augmentations that keep audio and video in sync, equal for all frames of an example."""

import cv2
import numpy as np


def augment_faces(frames: np.ndarray, rng: np.random.Generator, magnitude: float) -> np.ndarray:
    """Shifts, scales, rotates, mirrors and recolours face crops at random.

    Args:
        frames: uint8 (n, height, width, 3).
        rng: source of randomness.
        magnitude: 0 changes nothing; 1 means up to 5 % of shift and scale, 4 degrees, 25 % of
            brightness and contrast, 10 % a colour channel, and a horizontal flip
            with probability 0.5.

    Returns:
        uint8 (n, height, width, 3).
    """
    if not magnitude:
        return frames
    height, width = frames.shape[1:3]
    u = rng.uniform(-magnitude, magnitude, 9)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 4 * u[0], 1 + 0.05 * u[1])
    matrix[:, 2] += 0.05 * width * u[2], 0.05 * height * u[3]
    contrast, brightness = 1 + 0.25 * u[4], 64 * u[5]
    channels = np.arange(256.0)[:, None] * (1 + 0.1 * u[6:9])
    table = np.clip((channels - 128) * contrast + 128 + brightness, 0, 255).astype(np.uint8)
    flip = rng.random() < 0.5
    augmented = np.empty_like(frames)
    for i, frame in enumerate(frames):
        warped = cv2.warpAffine(frame, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        augmented[i] = cv2.LUT(warped, table.reshape(1, 256, 3))
    return np.ascontiguousarray(augmented[:, :, ::-1]) if flip else augmented


def augment_mel(mel: np.ndarray, rng: np.random.Generator, magnitude: float) -> np.ndarray:
    """Changes level, spectral tilt and noise of mel windows at random, and masks a band of bins.

    Args:
        mel: float32 (n, columns, bins) in [-4, 4], 12.5 dB a unit.
        rng: source of randomness.
        magnitude: 0 changes nothing; 1 means up to 10 dB of level, 10 dB of tilt over the
            spectrum, noise of 0.2, and a band of up to 10 bins.

    Returns:
        float32 (n, columns, bins) in [-4, 4].
    """
    if not magnitude:
        return mel
    bins = mel.shape[-1]
    level, tilt = rng.uniform(-0.8, 0.8, 2) * magnitude
    augmented = mel + level + tilt * np.linspace(-1, 1, bins, dtype=np.float32)
    augmented += rng.normal(0, 0.2 * magnitude * rng.random(), mel.shape)
    width = int(rng.integers(0, round(10 * magnitude) + 1))
    low = int(rng.integers(0, bins - width + 1))
    augmented[..., low : low + width] = augmented.mean()
    return np.clip(augmented, -4, 4).astype(np.float32)
