"""What one gets without a model: figures that a method has to beat."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lipsync_jax import faces
from lipsync_jax.evaluation.face_clip import Footage

COPIED, MEAN, UNEDITED = "copied reference", "mean mouth", "unedited"
STILL, MEAN_PICTURE = "repeated still", "mean picture"
_SIDE = 96  # columns of the lower half of a face, which is half as high


def baselines(real: Footage) -> Mapping[str, Footage]:
    """The truth with its lower faces replaced by a still one.

    `copied reference`: the first frame's, in all frames; `mean mouth`: the mean of all frames of
    the very clip, which knows more than a generator may. Both move with the head, neither with the
    voice. Replaced is the lower half of each face's crop.

    Args:
        real: the true footage.
    """
    lower = _lower_halves(real.boxes)
    total, first = np.zeros((_SIDE // 2, _SIDE, 3)), None
    for image, box in zip(real.read(), lower, strict=True):
        half = faces.crop(image, box, (_SIDE // 2, _SIDE))
        first = half if first is None else first
        total += half
    mean = np.rint(total / len(real)).astype(np.uint8)

    def pasted(patch: np.ndarray) -> Footage:
        return real.edited(lambda image, i: faces.paste(image, patch, lower[i]))

    assert first is not None  # footage has six frames at least
    return {COPIED: pasted(first), MEAN: pasted(mean)}


def of_stills(real: Footage) -> Mapping[str, Footage]:
    """What a still gives without a network.

    `repeated still`: the first frame, for ever; `mean picture`: the mean of all frames of the very
    clip, which knows more than a network may.

    Args:
        real: the true footage, of shards.
    """
    total: Any = 0.0  # an array from the first frame on
    first: Any = None  # likewise
    for image in real.read():
        first = image if first is None else first
        total = total + image.astype(np.float64)
    mean = np.rint(total / len(real)).astype(np.uint8)
    return {
        STILL: real.edited(lambda image, i: first),
        MEAN_PICTURE: real.edited(lambda image, i: mean),
    }


def _lower_halves(boxes: np.ndarray) -> np.ndarray:
    halves = np.array(boxes)
    halves[:, 1] = (boxes[:, 1] + boxes[:, 3]) / 2
    return halves
