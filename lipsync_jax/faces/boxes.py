"""Boxes: overlap, smoothing over time, padding, and the box of a face crop."""

import numpy as np

CHIN_MARGIN = 0.08  # of a detected box's height, added below it by `face_box`
MOUTH_CORNER_ROWS = (0.55, 0.85)  # range of the mouth corners in `face_box`, of the crop's height


def area(boxes: np.ndarray) -> np.ndarray:
    """Computes the areas of boxes (..., 4), 0 where empty."""
    return np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1)


def overlap_ratios(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Computes the intersection of two boxes (4,) over their union, and over the smaller box."""
    common = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0).prod()
    union = area(a) + area(b) - common
    return common / max(union, 1e-9), common / max(min(area(a), area(b)), 1e-9)


def smooth_boxes(boxes: np.ndarray, window: int = 5) -> np.ndarray:
    """Computes the centred moving average over time.

    Near the ends the window shrinks symmetrically, so that a box of constant velocity is
    unchanged.

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
    radius = np.minimum(window // 2, np.minimum(np.arange(n), np.arange(n)[::-1]))
    smoothed = np.empty(boxes.shape, np.float32)
    whole = range(window // 2, n - window // 2)  # the frames with a full window
    for i in (i for i in range(n) if i not in whole):
        smoothed[i] = boxes[i - radius[i] : i + radius[i] + 1].mean(axis=0)
    if whole:
        total = sum(boxes[k : k + len(whole)] for k in range(window))
        smoothed[whole.start : whole.stop] = total / window
    return smoothed


def reference_smoothing(boxes: np.ndarray, window: int = 5) -> np.ndarray:
    """Smooths boxes exactly as Wav2Lip's published inference code does.

    The code works in place and truncates to integers: box i becomes the mean of boxes i to
    i + window - 1; each of the last boxes becomes the mean of the last `window` boxes, of which
    some are smoothed already. With fewer boxes than the window, that last slice is shorter.

    Args:
        boxes: (n, 4), integers after padding; any fixed order of the columns.
        window: number of boxes averaged.

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
    """Computes the box of a face crop from a detected box, in preparation and synthesis alike.

    The box is extended below the chin by `CHIN_MARGIN` of its height (Wav2Lip pads 10 pixels at
    inference; a fraction is independent of the image size). Where the mouth corners would lie
    outside of `MOUTH_CORNER_ROWS` of the crop, as with a raised chin, the top or bottom is moved
    until they are inside, since the generator inpaints the lower half only.

    Args:
        boxes: (..., 4) detected boxes, smoothed over time (`smooth_boxes`).
        landmarks: (..., 5, 2), smoothed likewise; NaN or None where unknown.

    Returns:
        float32 (..., 4).
    """
    boxes = np.array(boxes, np.float64)
    # Deviation W12.
    boxes[..., 3] += CHIN_MARGIN * (boxes[..., 3] - boxes[..., 1])
    if landmarks is not None:
        mouth = np.asarray(landmarks, np.float64)[..., 3:, 1].mean(axis=-1)
        min_row, max_row = MOUTH_CORNER_ROWS
        top, bottom = boxes[..., 1], boxes[..., 3]
        # fmax and fmin ignore NaN, where the mouth is unknown.
        boxes[..., 3] = np.fmax(bottom, top + (mouth - top) / max_row)
        boxes[..., 1] = np.fmin(top, (mouth - min_row * boxes[..., 3]) / (1 - min_row))
    return boxes.astype(np.float32)
