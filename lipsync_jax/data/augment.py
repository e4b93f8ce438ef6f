"""Random changes that keep a clip in sync: the same for all frames of an example."""

import cv2
import numpy as np


def augment_faces(frames: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Moves, mirrors and relights face crops.

    Args:
        frames: uint8 (n, height, width, 3).
        rng: source of randomness.
        strength: 0 changes nothing; 1 means up to 5 % of shift and scale, 4 degrees, 25 % of
            brightness and contrast, 10 % a colour channel, and a mirror image half the time.

    Returns:
        uint8 (n, height, width, 3).
    """
    if not strength:
        return frames
    height, width = frames.shape[1:3]
    u = rng.uniform(-strength, strength, 9)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 4 * u[0], 1 + 0.05 * u[1])
    matrix[:, 2] += 0.05 * width * u[2], 0.05 * height * u[3]
    contrast, brightness = 1 + 0.25 * u[4], 64 * u[5]
    channels = np.arange(256.0)[:, None] * (1 + 0.1 * u[6:9])
    table = np.clip((channels - 128) * contrast + 128 + brightness, 0, 255).astype(np.uint8)
    mirror = rng.random() < 0.5
    changed = np.empty_like(frames)
    for i, frame in enumerate(frames):
        moved = cv2.warpAffine(frame, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        changed[i] = cv2.LUT(moved, table.reshape(1, 256, 3))
    return np.ascontiguousarray(changed[:, :, ::-1]) if mirror else changed


def augment_mel(mel: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Changes level, spectral tilt and noise of mel windows, and blanks a band of bins.

    Args:
        mel: float32 (n, columns, bins) in [-4, 4], 12.5 dB a unit.
        rng: source of randomness.
        strength: 0 changes nothing; 1 means up to 10 dB of level, 10 dB of tilt over the
            spectrum, noise of 0.2, and a band of up to 10 bins.

    Returns:
        float32 (n, columns, bins) in [-4, 4].
    """
    if not strength:
        return mel
    bins = mel.shape[-1]
    level, tilt = rng.uniform(-0.8, 0.8, 2) * strength
    changed = mel + level + tilt * np.linspace(-1, 1, bins, dtype=np.float32)
    changed += rng.normal(0, 0.2 * strength * rng.random(), mel.shape)
    width = int(rng.integers(0, round(10 * strength) + 1))
    low = int(rng.integers(0, bins - width + 1))
    changed[..., low : low + width] = changed.mean()
    return np.clip(changed, -4, 4).astype(np.float32)
