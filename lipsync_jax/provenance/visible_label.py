"""A visible watermark: a line of text on every frame."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.font_manager import FontProperties

_HEIGHT = 0.045  # height of the letters over the frame's short side
_MIN_HEIGHT = 9  # pixels
_BACKGROUND_OPACITY = 0.45  # brightness of the frame behind the letters


class VisibleWatermark:
    """Draws white text on a darkened bar in the lower left corner."""

    def __init__(self, text: str, size: tuple[int, int]) -> None:
        """Renders the text.

        Args:
            text: one line in any alphabet that the font DejaVu Sans has.
            size: (width, height) of the frames.

        Raises:
            ValueError: the text is empty, or has letters that the font lacks.
        """
        text = " ".join(text.split())
        if not text:
            raise ValueError("`label` is empty; give some text, or leave the option out")
        from matplotlib import font_manager  # here: slow to import, and few videos are labelled

        font = font_manager.FontProperties(family="DejaVu Sans")
        charmap = font_manager.get_font(font_manager.findfont(font)).get_charmap()
        if missing_glyphs := sorted({letter for letter in text if ord(letter) not in charmap}):
            raise ValueError(
                f"`label`: there are no letters for {' '.join(missing_glyphs)}; leave them out"
            )
        width, height = size
        coverage = _render_text(text, font, max(_MIN_HEIGHT, _HEIGHT * min(size)))
        if coverage.shape[1] > 0.9 * width:  # shrink long texts to the frame's width
            coverage = _render_text(text, font, max(_MIN_HEIGHT, _HEIGHT * min(size)) * 0.9 * width
                                / coverage.shape[1])  # fmt: skip
        pad = max(1, len(coverage) // 3)
        self._coverage = np.pad(coverage, pad)[:height, :width, None]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Returns a copy of a uint8 RGB image (height, width, 3) with the label."""
        result = image.copy()
        rows, columns = self._coverage.shape[:2]
        part = result[-rows:, :columns]
        part[:] = np.rint(part * _BACKGROUND_OPACITY * (1 - self._coverage) + 255 * self._coverage)
        return result


def watermark(text: str | None, size: tuple[int, int]) -> VisibleWatermark | None:
    """Returns the watermark of an option `label`, see `VisibleWatermark`; None without a text."""
    return VisibleWatermark(text, size) if text else None


def _render_text(text: str, font: "FontProperties", height: float) -> np.ndarray:
    """Renders the coverage of each pixel by the letters, float32 (rows, columns)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1, 1), dpi=72)  # so that a point is a pixel
    canvas = FigureCanvasAgg(figure)
    artist = figure.text(0, 0, text, fontproperties=font, parse_math=False)
    artist.set_fontsize(height)
    box = artist.get_window_extent(canvas.get_renderer())
    figure.set_size_inches(*np.ceil([box.width, box.height]) / 72)
    artist.set_position((-box.x0 / np.ceil(box.width), -box.y0 / np.ceil(box.height)))
    canvas.draw()
    return 1 - np.asarray(canvas.buffer_rgba())[..., 0].astype(np.float32) / 255
