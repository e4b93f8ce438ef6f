"""YuNet (Wu et al. 2023) in OpenCV, with the weights in this package (MIT)."""

import contextlib
import functools
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from lipsync_jax.faces.detectors.base import Face, resize_long_side, to_face
from lipsync_jax.media.planar import Image

_ERROR = 2  # OpenCV's log level
WEIGHTS = Path(__file__).with_name("weights") / "face_detection_yunet_2023mar.onnx"


def yunet(
    image: Image,
    model: str | os.PathLike = WEIGHTS,
    sizes: tuple[int, ...] = (320, 640, 1280),
    threshold: float = 0.5,
    min_face_height: float = 32,
) -> list[Face]:
    """Runs YuNet on the image, resized to a long side, from small to large.

    Args:
        image: uint8 (height, width, 3), RGB; or a frame in planes.
        model: its ONNX file.
        sizes: long sides, tried in turn until a large enough face is detected. After the first,
            sizes above twice the image's own are not tried.
        threshold: least score.
        min_face_height: pixels of the scaled image. Measured: landmarks of smaller faces are off
            by a fifth of the distance between the eyes, and the next size halves that.

    Raises:
        ValueError: OpenCV can't read the file.
    """
    faces: list[Face] = []
    for number, size in enumerate(sizes):
        if number and size > 2 * max(image.shape[:2]):
            break
        small, scale = resize_long_side(image, size)
        net = _network(str(model), threading.get_ident())
        net.setInputSize((small.shape[1], small.shape[0]))
        net.setScoreThreshold(threshold)
        found = net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1]
        # Some builds of OpenCV 4.10 detect faces of 10^28 pixels in plain images.
        plausible = () if found is None else (np.abs(found) < 4 * size).all(axis=1)
        if not np.any(plausible):
            continue
        found = found[plausible]
        faces = [to_face(row[:4], row[14], row[4:14], scale) for row in found]
        if found[:, 3].max() >= min_face_height:
            break
    return faces


@functools.lru_cache(maxsize=8)
def _network(model: str, thread: int) -> "cv2.FaceDetectorYN":
    """Returns the network of a thread, since its input size and buffers are state."""
    del thread
    with _errors_only():
        try:
            return cv2.FaceDetectorYN.create(model, "", (320, 320))
        except cv2.error as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"`detector`: YuNet's weights {model} can't be read by OpenCV {cv2.__version__}: "
                f"{reason}"
            ) from error


@contextlib.contextmanager
def _errors_only() -> Iterator[None]:
    """Silences a warning of OpenCV 5 about targets of its new engine, which does not matter."""
    logging = getattr(cv2.utils, "logging", cv2)  # OpenCV 5 keeps both functions there
    level = logging.getLogLevel()
    logging.setLogLevel(min(level, _ERROR))
    try:
        yield
    finally:
        logging.setLogLevel(level)
