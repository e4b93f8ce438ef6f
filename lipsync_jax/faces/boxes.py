"""Boxes: how much they overlap, how they move in time, and which one is cropped."""

import numpy as np

CHIN = 0.08  # of a detected box's height, added below it by `face_box`
MOUTH_ROWS = (0.55, 0.85)  # where `face_box` keeps the mouth corners, as a fraction of the crop


def area(boxes: np.ndarray) -> np.ndarray:
    """Areas of boxes (..., 4), 0 where empty."""
    return np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1)


def overlap(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Intersection of two boxes (4,) over their union, and over the smaller box."""
    common = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0).prod()
    union = area(a) + area(b) - common
    return common / max(union, 1e-9), common / max(min(area(a), area(b)), 1e-9)


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
