"""Images with a red face, stand-ins for networks that animate them, and small real networks."""

from fractions import Fraction

import numpy as np

from lipsync_jax.data.audio_frontends import WaveformFrontend
from lipsync_jax.faces import alignment
from lipsync_jax.media import video_reader
from lipsync_jax.methods.jain import model as jain
from lipsync_jax.methods.vougioukas import model as vougioukas
from lipsync_jax.synthesis.animation import Animator
from lipsync_jax.synthesis.animation_model import AnimationModel
from lipsync_jax.training import checkpoints
from tests.helpers import colour_faces, networks

SIZE = (160, 150)  # width and height of images
FACE = (60, 50, 90, 80)
DETECTOR = {"detector": colour_faces.detect}

MODELS = {
    "vougioukas": {"width_mult": 1 / 8, "image_size": (32, 32), "audio_samples": 960},
    "jain": {"width_mult": 1 / 8, "image_size": (32, 32), "audio_width_mult": 1 / 8},
}


def write_face_image(path, face=FACE):
    """Writes an image of a face on an uneven background."""
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    background = np.stack([60 + x // 2, 80 + y // 2, 90 - x // 4], axis=-1).astype(np.uint8)
    image = colour_faces.face_image(face, background=(0, 0, 0), size=SIZE[::-1])
    video_reader.write_image(path, np.where(image.any(axis=2, keepdims=True), image, background))
    return path


def step(reference, audio_features, noise, carry):
    """Repeats the reference image: the last row has the loudness, the first the sum of the noise.

    The carry is the sum of the noise so far, so each frame depends on all frames before.
    """
    frames = np.repeat(reference[None], len(audio_features), axis=0)
    sums = carry + np.cumsum(noise.sum(axis=1))
    frames[:, -1] = np.clip(np.abs(audio_features).max(axis=1) * 255, 0, 255)[:, None, None]
    frames[:, 0] = np.frombuffer(sums.astype("<f4").tobytes(), np.uint8).reshape(-1, 1, 4)[..., :3]
    return sums[-1], frames


def animator(step=step, frame_rate=Fraction(25), rate=16_000):
    audio_frontend = WaveformFrontend(rate, 4 * rate // 25, frame_rate)
    return Animator(
        AnimationModel(
            size=alignment.FRAME_SIZE,
            frame_rate=frame_rate,
            audio_frontend=audio_frontend,
            noise_size=3,
            noise_std=0.5,
            align=lambda face: alignment.align_matrix(face.landmarks),
            encode_image=lambda image: image,
            initial_state=lambda: np.float64(0),
            step=step,
            model_hash="0123456789ab",
        )
    )


def write_checkpoint(folder, method):
    """Writes a checkpoint of a narrow network with random weights."""
    fields = MODELS[method]
    network = {"vougioukas": vougioukas, "jain": jain}[method].Generator(**fields)
    audio_shape = (1, 960) if method == "vougioukas" else (1, 35, 12)
    variables = networks.random_variables(
        network, (*fields["image_size"], 3), audio_shape, (1, network.noise_size), n=1
    )
    config = {
        "method": method,
        "precision": "float32",
        "model": fields,
        "frame_rate": 25,
        "eval_noise_std": 0.5,
        "audio_std": 10.0,
        "data": {"crop": "aligned128x96"},
    }
    checkpoints.export_networks(folder, {"generator": variables}, {"config": config})
    return folder
