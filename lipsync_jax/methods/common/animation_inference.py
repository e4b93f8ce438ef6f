"""What inference of the methods that animate images has in common."""

from collections.abc import Callable
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

from lipsync_jax import faces
from lipsync_jax.data.clip import CROP_SPECS
from lipsync_jax.faces import alignment
from lipsync_jax.methods.inference import AnimationInference
from lipsync_jax.types import ModelCard


class CroppedAnimationInference(AnimationInference):
    """Aligns reference images as the training data of a checkpoint was aligned."""

    def __init__(self, model_card: ModelCard, image_size: tuple[int, int]) -> None:
        """Reads the alignment from a checkpoint's model card.

        Args:
            model_card: has `canonical_face` (68 landmarks), or its config has `data.crop`.
            image_size: height and width of the network's images.
        """
        self.image_size = image_size
        self.crop = model_card["config"].get("data", {}).get("crop", "")
        self._align = _aligner(model_card, image_size)

    def align(self, face: faces.Face) -> np.ndarray:
        """See `AnimationInference`."""
        return self._align(face)


def to_uint8(frames: jax.Array) -> jax.Array:
    """Maps [-1, 1] to uint8."""
    # Deviation T6: the published inference maps 1 to 250.
    return jnp.rint(jnp.clip(frames * 0.5 + 0.5, 0, 1) * 255).astype(jnp.uint8)


def read_frame_rate(model_card: ModelCard) -> Fraction:
    """Returns the frames a second that a checkpoint was trained at."""
    rate = model_card.get("frame_rate") or model_card["config"]["frame_rate"]
    return Fraction(rate).limit_denominator(1001)


def _aligner(model_card: ModelCard, size: tuple[int, int]) -> Callable[[faces.Face], np.ndarray]:
    """Returns the alignment of the network's training data."""
    if "canonical_face" in model_card:
        canonical = np.asarray(model_card["canonical_face"], np.float64)[list(alignment.LANDMARKS)]
        return lambda face: alignment.align_matrix(face.landmarks, canonical)
    crop_spec = CROP_SPECS[model_card["config"]["data"]["crop"]]
    if crop_spec.method == "aligned":
        canonical = alignment.CANONICAL[crop_spec.region]
        return lambda face: alignment.align_matrix(face.landmarks, canonical)
    return lambda face: _box_matrix(faces.face_box(face.box, face.landmarks), size)


def _box_matrix(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the matrix that scales a box to an image, between pixel centres."""
    scale = np.array(size[::-1]) / (box[2:] - box[:2])
    matrix = np.diag([*scale, 1.0])
    matrix[:2, 2] = scale * (0.5 - box[:2]) - 0.5
    return matrix
