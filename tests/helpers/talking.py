"""Videos of speaking rectangles, their audio, and a sync model for them."""

import dataclasses
from fractions import Fraction

import numpy as np

from lipsync_jax.data.audio_features import MEL
from lipsync_jax.evaluation.sync_models import SyncModel
from lipsync_jax.media import audio, video_reader
from lipsync_jax.methods.inference import SyncInference
from tests.helpers import colour_faces

RATE, SIDE = 16_000, 24
SIZE = (96, 80)


def random_speech_mask(frames, seed=0):
    """Samples whether each frame of 1/25 s has speech."""
    return np.random.default_rng(seed).integers(0, 2, frames).astype(bool)


def speech_audio(speech_mask):
    """Returns float32 audio: a tone during speech, and noise."""
    gate = np.repeat(speech_mask, RATE // 25)
    time = np.arange(len(gate)) / RATE
    noise = np.random.default_rng(1).normal(size=len(gate))
    return (0.4 * gate * np.sin(2 * np.pi * 1000 * time) + 1e-4 * noise).astype(np.float32)


def talking_face(is_speaking, position=(30, 20), background=colour_faces.BACKGROUND):
    """Draws a red face of 32 x 40 whose mouth is white during speech, else dark."""
    x, y = position
    image = colour_faces.face_image(
        (x, y, x + 32, y + 40), None, background=background, size=SIZE[::-1]
    )
    image[y + 26 : y + 36, x + 8 : x + 24] = 255 if is_speaking else (60, 0, 0)
    return image


def write_talking_video(
    path, speech_mask, samples=None, position=(30, 20), rate=25, transform=lambda image: image
):
    """Writes a lossless video; its audio is that of `speech_mask` unless `samples` are given."""
    wav = path.with_suffix(".wav")
    audio.save(wav, speech_audio(speech_mask) if samples is None else samples, RATE)
    with video_reader.VideoWriter(
        path, rate, SIZE, lossless=True, preset="ultrafast", audio=wav, copy_audio=False
    ) as writer:
        count = len(speech_mask) * rate // 25
        for i in range(count):
            writer.write(transform(talking_face(speech_mask[i * 25 // rate], position)))
    wav.unlink()
    return path


class TalkingSync(SyncInference):
    """Windows of five frames, whose embedding `sync_model` computes outside of JAX."""

    name, window_frames, image_size = "sync_expert", 5, SIDE
    audio_features = dataclasses.replace(MEL, lookback=Fraction(0))

    def embed_video(self, variables, windows):
        raise NotImplementedError

    def embed_audio(self, variables, windows):
        raise NotImplementedError


def sync_model():
    """Returns a sync model that embeds five frames and their audio as +1 or -1."""

    def embed_video(frames):
        rows, columns = slice(SIDE // 2, None), slice(SIDE // 4, 3 * SIDE // 4)
        blue = frames[:, rows, columns, 0].astype(float).mean(axis=(1, 2))
        bright = np.where(blue > 90, 1.0, -1.0)
        return np.lib.stride_tricks.sliding_window_view(bright, 5)

    def embed_audio(mel):
        return np.where(mel[:, [2, 5, 8, 11, 14]].max(axis=2) > 1.5, 1.0, -1.0)

    return SyncModel(TalkingSync(), "0123456789ab", embed_video, embed_audio)
