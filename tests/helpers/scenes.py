"""Videos with a red and a green face, a substitute for the network, and driving audio."""

import numpy as np

from lipsync_jax.media import audio, video_reader
from lipsync_jax.synthesis import dubbing
from lipsync_jax.synthesis.dubbing_model import DubbingModel
from tests.helpers import colour_faces, media_files

SIZE = (120, 80)
LEFT, RIGHT = (10, 12, 46, 60), (70, 12, 106, 60)


def write_scenes(path, scenes, frames=10):
    """Writes shots of `frames` frames; each scene has the boxes of the red and the green face."""
    with video_reader.VideoWriter(path, 25, SIZE, lossless=True) as writer:
        for number, boxes in enumerate(scenes):
            background = (40, 40, 60) if number % 2 else (60, 60, 40)
            image = colour_faces.face_image(*boxes, background=background, size=SIZE[::-1])
            for _ in range(frames):
                writer.write(image)
    return path


def write_tone(path, seconds=0.4, hertz=220, rate=16_000):
    audio.save(path, media_files.tone(hertz, seconds, rate), rate)
    return path


def brightness_from_loudness(mel_windows, faces):
    """Generates faces as bright as the audio 40 ms after the window's start is loud."""
    level = 25 * (mel_windows[:, 3].max(axis=1) + 4)
    return np.broadcast_to(level[:, None, None, None], faces.shape).astype(np.uint8)


def lip_sync_pipeline(generate=brightness_from_loudness):
    return dubbing.LipSyncPipeline(DubbingModel(generate, 48, "0123456789ab"))


OPTIONS = {
    "detector": colour_faces.detect,
    "lossless": True,
    "match_colours": False,
    "blend": "box",
    "detect_every": 1,
}


def face_changed(frame, box):
    """Returns whether the face in a box is no longer plain red or green."""
    x0, y0, x1, y1 = box
    face = frame.image[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4].reshape(-1, 3)
    return not (face == face[0]).all() or face[0].tolist() not in ([255, 0, 0], [0, 255, 0])
