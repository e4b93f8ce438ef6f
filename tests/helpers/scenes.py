"""Films with a red and a green face, a stand-in for the network, and voices."""

import numpy as np

from lipsync_jax.media import audio, video_reader
from lipsync_jax.synthesis import dubbing
from lipsync_jax.synthesis.dubbing_model import Editor
from tests.helpers import colour_faces, media_files

SIZE = (120, 80)
LEFT, RIGHT = (10, 12, 46, 60), (70, 12, 106, 60)


def film(path, shots, frames=10):
    """Shots of `frames` frames; each says where the red and the green face are, if anywhere."""
    with video_reader.VideoWriter(path, 25, SIZE, lossless=True) as writer:
        for number, boxes in enumerate(shots):
            ground = (40, 40, 60) if number % 2 else (60, 60, 40)
            image = colour_faces.picture(*boxes, ground=ground, size=SIZE[::-1])
            for _ in range(frames):
                writer.write(image)
    return path


def voice(path, seconds=0.4, hertz=220, rate=16_000):
    audio.save(path, media_files.tone(hertz, seconds, rate), rate)
    return path


def loudness(mels, faces):
    """Faces as bright as what is heard 40 ms into their window is loud."""
    level = 25 * (mels[:, 3].max(axis=1) + 4)
    return np.broadcast_to(level[:, None, None, None], faces.shape).astype(np.uint8)


def synthesizer(draw=loudness):
    return dubbing.Synthesizer(Editor(draw, 48, "0123456789ab"))


OPTIONS = {
    "detector": colour_faces.detect,
    "lossless": True,
    "match_colours": False,
    "blend": "box",
    "detect_every": 1,
}


def changed(frame, box):
    """Whether the face in a box isn't plain red or green any more."""
    x0, y0, x1, y1 = box
    face = frame.image[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4].reshape(-1, 3)
    return not (face == face[0]).all() or face[0].tolist() not in ([255, 0, 0], [0, 255, 0])
