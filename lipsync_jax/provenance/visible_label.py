"""A visible line of text on every frame."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.font_manager import FontProperties

_HEIGHT = 0.045  # of the frame's short side: how high letters are
_LEAST = 9  # pixels
_DIM = 0.45  # how much of the picture shines through behind the letters


class Label:
    """Writes white letters on a darkened bar in the lower left corner."""

    def __init__(self, text: str, size: tuple[int, int]) -> None:
        """Sets the text, once.

        Args:
            text: one line in any alphabet that the font DejaVu Sans has.
            size: (width, height) of the frames.

        Raises:
            ValueError: it has no letters, or some the font lacks.
        """
        text = " ".join(text.split())
        if not text:
            raise ValueError("label is empty; give some text, or leave the option out")
        from matplotlib import font_manager  # here: slow to import, and few videos are labelled

        font = font_manager.FontProperties(family="DejaVu Sans")
        known = font_manager.get_font(font_manager.findfont(font)).get_charmap()
        if lacking := sorted({letter for letter in text if ord(letter) not in known}):
            raise ValueError(f"label: there are no letters for {' '.join(lacking)}; leave them out")
        width, height = size
        letters = _rendered(text, font, max(_LEAST, _HEIGHT * min(size)))
        if letters.shape[1] > 0.9 * width:  # shrink long texts to the frame's width
            letters = _rendered(text, font, max(_LEAST, _HEIGHT * min(size)) * 0.9 * width
                                / letters.shape[1])  # fmt: skip
        pad = max(1, len(letters) // 3)
        self._letters = np.pad(letters, pad)[:height, :width, None]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """A copy of uint8 RGB (height, width, 3) with the label."""
        result = image.copy()
        rows, columns = self._letters.shape[:2]
        part = result[-rows:, :columns]
        part[:] = np.rint(part * _DIM * (1 - self._letters) + 255 * self._letters)
        return result


def _rendered(text: str, font: "FontProperties", height: float) -> np.ndarray:
    """How much of each pixel the letters cover, float32 (rows, columns)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1, 1), dpi=72)  # so that a point is a pixel
    canvas = FigureCanvasAgg(figure)
    drawn = figure.text(0, 0, text, fontproperties=font, parse_math=False)
    drawn.set_fontsize(height)
    box = drawn.get_window_extent(canvas.get_renderer())
    figure.set_size_inches(*np.ceil([box.width, box.height]) / 72)
    drawn.set_position((-box.x0 / np.ceil(box.width), -box.y0 / np.ceil(box.height)))
    canvas.draw()
    return 1 - np.asarray(canvas.buffer_rgba())[..., 0].astype(np.float32) / 255
