"""Crops of one face at 25 frames a second, for metrics and sync models."""

import contextlib
from collections.abc import Iterator, Sequence
from fractions import Fraction

import cv2
import numpy as np

from lipsync_jax import faces
from lipsync_jax.evaluation.sync_models import FRAME_RATE
from lipsync_jax.faces.roll import upright_view
from lipsync_jax.media import video_reader
from lipsync_jax.media.frame_source import FrameReader, FrameSource
from lipsync_jax.media.planar import Image, to_rgb
from lipsync_jax.media.video_reader import Frame
from lipsync_jax.types import Untyped

_MEDIAN_FRAMES = 13  # frames of SyncNet's median filter
_MARGIN = 0.4  # of SyncNet's half side
_BORDER_GREY = 110  # grey level of SyncNet's crops beyond the image


def syncnet_boxes(boxes: np.ndarray) -> np.ndarray:
    """Computes the crop boxes of SyncNet v2's training data from tight face boxes.

    As in the released pipeline (Chung & Zisserman 2016): with s half the longer side and
    (x, y) the centre, each the median of 13 frames, a square of 2.8·s around (x, y + 0.4·s). The
    released median filter pads tracks with zeros; here the end's value is repeated (deviation M4).

    Args:
        boxes: (frames, 4), of consecutive frames.

    Returns:
        float32 (frames, 4).
    """
    import scipy.ndimage  # here: slow to import, and not needed by the report of dubbing

    boxes = np.asarray(boxes, np.float64)
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / 2
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half, x, y = (
        scipy.ndimage.median_filter(values, _MEDIAN_FRAMES, mode="nearest")
        for values in (half, centre[:, 0], centre[:, 1])
    )
    reach, below = half * (1 + _MARGIN), half * (1 + 2 * _MARGIN)
    return np.stack([x - reach, y - half, x + reach, y + below], axis=1).astype(np.float32)


def crop_bgr(
    image: Image, box: np.ndarray, size: int, border_value: int | None = None
) -> np.ndarray:
    """Crops an RGB image, uint8 (size, size, 3) BGR.

    Args:
        image: uint8 RGB (height, width, 3), or in planes.
        box: (4,).
        size: rows and columns.
        border_value: grey value outside of the image; None repeats the image's edge.
    """
    if border_value is not None:
        height, width = image.shape[:2]
        pad = int(np.ceil(max(0, -min(box[:2]), box[2] - width, box[3] - height))) + 2
        if pad > 2:
            image = to_rgb(image)
            image = cv2.copyMakeBorder(
                image, pad, pad, pad, pad, borderType=cv2.BORDER_CONSTANT, value=[border_value] * 3
            )
            box = np.asarray(box) + pad
    return np.ascontiguousarray(faces.crop(image, box, size)[..., ::-1])


def crop_for_model(
    image: Image, box: np.ndarray, size: int, crop_style: str, roll: float = 0.0
) -> np.ndarray:
    """Crops as a model was trained, see `crop_bgr` and `SyncModel.crop_style`.

    Args:
        image: as of `crop_bgr`.
        box: (4,).
        size: rows and columns of the crop.
        crop_style: of the model.
        roll: degrees by which the box is turned clockwise around its centre.
    """
    if roll:
        image, box, _ = upright_view(image, box, roll)
    return crop_bgr(image, box, size, _BORDER_GREY if crop_style == "syncnet" else None)


def frame_indices_at_rate(times: Sequence[Fraction]) -> tuple[int, ...]:
    """Returns the frames nearest to 0, 1/25, 2/25, ... seconds.

    Args:
        times: of each frame, seconds, the first at about 0.
    """
    frames = (Frame(time, np.array(i), i) for i, time in enumerate(times))
    return tuple(int(frame.image) for frame in video_reader.resample_fps(frames, FRAME_RATE))


def read_frames(
    video: FrameSource,
    times: Sequence[Fraction],
    frame_indices: Sequence[int],
    planes: bool = False,
) -> Iterator[Untyped]:
    """Yields frames of a video by index; `times` are those of all frames.

    Images are uint8 RGB; with `planes` see `video_reader.read_frames`.
    """
    with contextlib.closing(FrameReader(video, times, 0, planes)) as reader:
        for index in frame_indices:
            yield reader[index]
