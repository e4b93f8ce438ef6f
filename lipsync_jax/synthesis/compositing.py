"""Composites generated faces into their frames: mask, colours, sharpness and detail."""

import cv2
import numpy as np

from lipsync_jax.faces.boxes import overlap_ratios
from lipsync_jax.faces.outline import FaceOutline, outline_mask
from lipsync_jax.faces.roll import upright_view
from lipsync_jax.media.planar import Image, to_rgb
from lipsync_jax.synthesis import blending, color_transfer, source_detail
from lipsync_jax.synthesis.color_transfer import ColorTransfer
from lipsync_jax.synthesis.options import DubbingOptions
from lipsync_jax.synthesis.sharpening import Sharpener

# Rows of a generated face above the mask that enlarging, `sharpening` and `source_detail` read.
_ROWS_ABOVE = 9
_TURNED_GAIN = 4.0  # of the mask, with which a view that was turned upright is turned back
_MIN_IOU = 0.3  # of the face's boxes in successive frames; below, another shot has begun


def first_read_row(options: DubbingOptions, size: int) -> int:
    """Returns the first row of a generated face, of `size` rows, that `Compositor` reads."""
    return 0 if options.blend == "box" else max(0, size // 2 - _ROWS_ABOVE)


class Compositor:
    """Composites one face of a video, frame by frame in the order of the output.

    Attributes:
        mask: float32 (size, size), the last frame's.
    """

    def __init__(self, options: DubbingOptions) -> None:
        self._options = options
        self._box = np.zeros(0)
        self.mask = np.zeros((0, 0), np.float32)

    def __call__(
        self,
        image: Image,
        generated: np.ndarray,
        original: np.ndarray,
        box: np.ndarray,
        landmarks: np.ndarray,
        seconds: float,
        weight: float = 1.0,
        roll: float = 0.0,
    ) -> Image:
        """Composites the face of the next frame.

        Args:
            image: the frame, uint8 RGB (height, width, 3) or in planes.
            generated: the generated crop, uint8 RGB (size, size, 3).
            original: the frame's crop, uint8 RGB (size, size, 3).
            box: (4,), the crop's box in the frame.
            landmarks: (5, 2), those of `faces.Face` as fractions of the box; NaN where unknown.
            seconds: time at which the output shows the frame.
            weight: of the generated face, 0 to 1; the rest is the original.
            roll: degrees by which the box is turned clockwise around its centre.

        Returns:
            A new frame.
        """
        if not self._box.size or overlap_ratios(self._box, box)[0] < _MIN_IOU:
            self._outline, self._colours = FaceOutline(), ColorTransfer()
            self._sharpener = Sharpener()
        self._box = box
        patch, sharpened = self._match(generated, original, landmarks, seconds)
        mask = self.mask if weight == 1 else self.mask * np.float32(weight)
        if not roll:
            return self._blend(image, box, patch, original, mask, sharpened)
        view = upright_view(image, box, roll)
        result = self._blend(view.image, view.box, patch, original, mask, sharpened)
        # The result fades into the original already; beyond it nothing may be resampled.
        left, top, right, bottom = view.box.tolist()
        shown = np.zeros(view.image.shape[:2], np.float32)
        shown[top:bottom, left:right] = cv2.resize(self.mask, (right - left, bottom - top))
        shown = np.minimum(shown * np.float32(_TURNED_GAIN), 1)
        return blending.blend_aligned(image, to_rgb(result).astype(np.float32), shown, view.matrix)

    def _match(
        self, generated: np.ndarray, original: np.ndarray, landmarks: np.ndarray, seconds: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sets the mask; returns the crop in the colours of the frame, as it is and sharpened."""
        known = bool(np.isfinite(landmarks).all())
        points, style = landmarks if known else blending.FRONTAL, self._options.blend
        size, patch = len(generated), generated.astype(np.float32)
        if style == "box":
            self.mask = blending.box_mask(size)
            return patch, patch
        lab = color_transfer.to_lab(original)
        inside = np.ones((size, size), np.float32)
        if style == "outline" and known:
            inside = outline_mask(self._outline(lab, points, seconds), points, size)
        self.mask = blending.mouth_mask(points, size) * inside
        if self._options.match_colours:
            skin = color_transfer.skin_weights(points, size) * inside
            patch = self._colours(generated, lab, skin, seconds)
        if not self._options.sharpen:
            return patch, patch
        return patch, self._sharpener(patch, original, self.mask, seconds)

    def _blend(
        self,
        image: Image,
        box: np.ndarray,
        patch: np.ndarray,
        original: np.ndarray,
        mask: np.ndarray,
        sharpened: np.ndarray,
    ) -> Image:
        """Blends a crop into its box of an image, where the face is upright."""
        if self._options.blend == "box":
            return blending.blend(image, patch, mask, box)
        if self._options.source_detail:
            detailed = source_detail.blend(image, patch, original, mask, box, sharpened)
            if detailed is not None:
                return detailed
        return blending.blend(image, sharpened, mask, box, cubic=self._options.sharpen)
