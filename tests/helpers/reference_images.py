"""Pictures with a red face, stand-ins for networks that animate them, and small real ones."""

from fractions import Fraction

import numpy as np

from lipsync_jax.faces import alignment
from lipsync_jax.media import video_reader
from lipsync_jax.methods.jain import model as jain
from lipsync_jax.methods.vougioukas import model as temporal_gan
from lipsync_jax.synthesis.animation import Animator
from lipsync_jax.synthesis.animation_model import Performer
from lipsync_jax.synthesis.audio_frontends import RawEar
from lipsync_jax.training import checkpoints
from tests.helpers import colour_faces, networks

SIZE = (160, 150)  # width and height of pictures
FACE = (60, 50, 90, 80)
DETECTOR = {"detector": colour_faces.detect}

MODELS = {
    "temporal_gan": {"width": 1 / 8, "image_size": (32, 32), "audio_samples": 960},
    "jain": {"width": 1 / 8, "image_size": (32, 32), "audio_width": 1 / 8},
}


def picture(path, face=FACE):
    """A face on uneven ground."""
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    ground = np.stack([60 + x // 2, 80 + y // 2, 90 - x // 4], axis=-1).astype(np.uint8)
    image = colour_faces.picture(face, ground=(0, 0, 0), size=SIZE[::-1])
    video_reader.write_image(path, np.where(image.any(axis=2, keepdims=True), image, ground))
    return path


def perform(looked, heard, noise, memory):
    """The still, its last row as bright as the voice is loud, and columns that tell the rest.

    Memory is the sum of all noise so far, so each frame depends on all before it.
    """
    frames = np.repeat(looked[None], len(heard), axis=0)
    sums = memory + np.cumsum(noise.sum(axis=1))
    frames[:, -1] = np.clip(np.abs(heard).max(axis=1) * 255, 0, 255)[:, None, None]
    frames[:, 0] = np.frombuffer(sums.astype("<f4").tobytes(), np.uint8).reshape(-1, 1, 4)[..., :3]
    return sums[-1], frames


def animator(perform=perform, frame_rate=Fraction(25), rate=16_000):
    ear = RawEar(rate, 4 * rate // 25, frame_rate)
    return Animator(
        Performer(
            size=alignment.FRAME_SIZE,
            frame_rate=frame_rate,
            ear=ear,
            noise_size=3,
            noise_std=0.5,
            place=lambda face: alignment.place(face.landmarks),
            look=lambda still: still,
            start=lambda: np.float64(0),
            perform=perform,
            model="0123456789ab",
        )
    )


def checkpoint(folder, method):
    """A checkpoint of a narrow network with drawn weights."""
    fields = MODELS[method]
    network = {"temporal_gan": temporal_gan, "jain": jain}[method].Generator(**fields)
    sound = (1, 960) if method == "temporal_gan" else (1, 35, 12)
    variables = networks.variables(
        network, (*fields["image_size"], 3), sound, (1, network.noise_size), n=1
    )
    config = {
        "method": method,
        "precision": "float32",
        "model": fields,
        "frame_rate": 25,
        "sample_noise_std": 0.5,
        "mfcc_scale": 10.0,
        "data": {"geometry": "aligned128x96"},
    }
    checkpoints.save_inference(folder, {"generator": variables}, {"config": config})
    return folder
