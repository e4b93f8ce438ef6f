"""Images with red and green rectangles as faces, and a detector of them."""

import os
from fractions import Fraction

import numpy as np

from lipsync_jax import faces
from lipsync_jax.media import audio, video_reader

RED, GREEN = (255, 0, 0), (0, 255, 0)
BACKGROUND, CRASH_COLOUR = (40, 40, 60), (255, 255, 0)


def detect(rgb):
    """Detects each pure red or pure green rectangle as a face."""
    detected = []
    for colour in (RED, GREEN):
        rows, columns = np.nonzero((rgb == colour).all(axis=2))
        if len(rows):
            x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            box = np.array([x0, y0, x1, y1], np.float32)
            points = [(x0, y0), (x1, y0), ((x0 + x1) / 2, (y0 + y1) / 2), (x0, y1), (x1, y1)]
            detected.append(faces.Face(box, 0.9, np.array(points, np.float32)))
    return detected


def detect_or_crash(rgb):
    """Exits the process at an image with CRASH_COLOUR, as a fault in a decoder would."""
    if (rgb[0, 0] == CRASH_COLOUR).all():
        os._exit(3)
    return detect(rgb)


def face_image(*boxes, background=BACKGROUND, size=(60, 80)):
    """Returns an image with a red and a green face; either box may be None."""
    image = np.full((*size, 3), background, np.uint8)
    for box, colour in zip(boxes, (RED, GREEN), strict=False):
        if box is not None:
            x0, y0, x1, y1 = box
            image[y0:y1, x0:x1] = colour
    return image


def square_box(x, y=20, size=16):
    return x, y, x + size, y + size


def buzz(seconds, rate=16000):
    return 0.3 * np.sin(2 * np.pi * 200 * np.arange(round(seconds * rate)) / rate)


def write_video(path, images, samples=None, frame_rate=25, rate=16000):
    """Writes a lossless video; audio, float samples or None, is exact in .mkv."""
    wav = path.with_suffix(".audio.wav")
    if samples is not None:
        audio.save(wav, np.asarray(samples, np.float32), rate)
    height, width = images[0].shape[:2]
    with video_reader.VideoWriter(
        path,
        Fraction(frame_rate),
        (width, height),
        lossless=True,
        preset="ultrafast",
        audio=None if samples is None else wav,
    ) as writer:
        for image in images:
            writer.write(image)
    wav.unlink(missing_ok=True)
    return path
