"""From a video to the crops that metrics and judges look at: 25 a second, of one face."""

import contextlib
from collections.abc import Iterator, Sequence
from fractions import Fraction

import cv2
import numpy as np
import scipy.ndimage

from lipsync_jax import faces
from lipsync_jax.evaluation.sync_models import RATE
from lipsync_jax.media import video_reader
from lipsync_jax.media.frame_source import Player, Source
from lipsync_jax.media.video_reader import Frame

_SMOOTH = 13  # frames of SyncNet's median
_MARGIN = 0.4  # of SyncNet's half side
_GREY = 110  # what SyncNet sees beyond the picture


def syncnet_boxes(boxes: np.ndarray) -> np.ndarray:
    """The crops that SyncNet v2 was trained on, from tight face boxes.

    As the released pipeline cuts them (Chung & Zisserman 2016): with s half the longer side and
    (x, y) the centre, each the median of 13 frames, a square of 2.8·s around (x, y + 0.4·s). Its
    median counts zeros beyond the ends of a track; here the end's value is repeated.

    Args:
        boxes: (frames, 4), of consecutive frames.

    Returns:
        float32 (frames, 4).
    """
    boxes = np.asarray(boxes, np.float64)
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / 2
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half, x, y = (
        scipy.ndimage.median_filter(values, _SMOOTH, mode="nearest")
        for values in (half, centre[:, 0], centre[:, 1])
    )
    reach, below = half * (1 + _MARGIN), half * (1 + 2 * _MARGIN)
    return np.stack([x - reach, y - half, x + reach, y + below], axis=1).astype(np.float32)


def cut(image: np.ndarray, box: np.ndarray, size: int, beyond: int | None = None) -> np.ndarray:
    """A crop of an RGB picture, uint8 (size, size, 3) BGR.

    Args:
        image: uint8 RGB (height, width, 3).
        box: (4,).
        size: rows and columns.
        beyond: grey value outside of the picture; None repeats its edge.
    """
    if beyond is not None:
        height, width = image.shape[:2]
        pad = int(np.ceil(max(0, -min(box[:2]), box[2] - width, box[3] - height))) + 2
        if pad > 2:
            image = cv2.copyMakeBorder(
                image, pad, pad, pad, pad, borderType=cv2.BORDER_CONSTANT, value=[beyond] * 3
            )
            box = np.asarray(box) + pad
    return np.ascontiguousarray(faces.crop(image, box, size)[..., ::-1])


def for_judge(image: np.ndarray, box: np.ndarray, size: int, how: str) -> np.ndarray:
    """A crop as a judge wants it, see `cut`; `how` is its `Judge.cut`."""
    return cut(image, box, size, _GREY if how == "syncnet" else None)


def numbers_at_rate(times: Sequence[Fraction]) -> tuple[int, ...]:
    """Which frames to show 25 a second: those nearest to 0, 1/25, 2/25, ... seconds.

    Args:
        times: when each frame is shown, seconds, the first at about 0.
    """
    frames = (Frame(time, np.array(i), i) for i, time in enumerate(times))
    return tuple(int(frame.image) for frame in video_reader.constant_rate(frames, RATE))


def read(shown: Source, times: Sequence[Fraction], numbers: Sequence[int]) -> Iterator[np.ndarray]:
    """Yields frames of a video by their numbers, uint8 RGB; `times` are those of all its frames."""
    with contextlib.closing(Player(shown, times, memory=0)) as player:
        for number in numbers:
            yield player[number]
