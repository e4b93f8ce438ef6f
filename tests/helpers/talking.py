"""Films of rectangles that speak, the sound they speak, and who can tell."""

import numpy as np

from lipsync_jax.evaluation.sync_models import EXPERT, Judge
from lipsync_jax.media import audio, video_reader
from tests.helpers import colour_faces

RATE, SIDE = 16_000, 24
SIZE = (96, 80)


def syllables(frames, seed=0):
    """Whether each frame of 1/25 s has sound."""
    return np.random.default_rng(seed).integers(0, 2, frames).astype(bool)


def sound(spoken):
    """float32: a tone where it is on, and breath."""
    on = np.repeat(spoken, RATE // 25)
    time = np.arange(len(on)) / RATE
    noise = np.random.default_rng(1).normal(size=len(on))
    return (0.4 * on * np.sin(2 * np.pi * 1000 * time) + 1e-4 * noise).astype(np.float32)


def picture(speaks, place=(30, 20), ground=colour_faces.GROUND):
    """A red face of 32 x 40 whose mouth is white while it speaks and else dark."""
    x, y = place
    image = colour_faces.picture((x, y, x + 32, y + 40), None, ground=ground, size=SIZE[::-1])
    image[y + 26 : y + 36, x + 8 : x + 24] = 255 if speaks else (60, 0, 0)
    return image


def film(path, spoken, samples=None, place=(30, 20), rate=25, change=lambda image: image):
    """Writes a lossless film; `samples` are its own unless given."""
    wav = path.with_suffix(".wav")
    audio.save(wav, sound(spoken) if samples is None else samples, RATE)
    with video_reader.VideoWriter(
        path, rate, SIZE, lossless=True, preset="ultrafast", audio=wav, copy_audio=False
    ) as writer:
        count = len(spoken) * rate // 25
        for i in range(count):
            writer.write(change(picture(spoken[i * 25 // rate], place)))
    wav.unlink()
    return path


def judge():
    """Sees five mouths and hears five syllables, each as +1 or -1."""

    def embed_lips(frames):
        rows, columns = slice(SIDE // 2, None), slice(SIDE // 4, 3 * SIDE // 4)
        blue = frames[:, rows, columns, 0].astype(float).mean(axis=(1, 2))
        bright = np.where(blue > 90, 1.0, -1.0)
        return np.lib.stride_tricks.sliding_window_view(bright, 5)

    def embed_sound(mels):
        return np.where(mels[:, [2, 5, 8, 11, 14]].max(axis=2) > 1.5, 1.0, -1.0)

    return Judge(EXPERT, "0123456789ab", SIDE, embed_lips, embed_sound)
