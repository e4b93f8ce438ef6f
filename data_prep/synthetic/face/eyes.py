"""Paints the eyes of every frame: gaze, blinks and highlights."""

import numpy as np

from lipsync_jax.data_prep.synthetic.face.canvas import Canvas, colour, mix, smoothstep
from lipsync_jax.data_prep.synthetic.face.identity import Identity

_WHITE = colour(228, 224, 222)
_PINK = colour(196, 128, 118)
_BLACK = colour(26, 22, 22)


class Eye:
    """One eye on a small canvas; static parts are computed once."""

    def __init__(self, identity: Identity, canvas: Canvas, side: int, rng: np.random.Generator):
        """`side` is -1 for the eye at the image's left, 1 for the other."""
        self._identity = identity
        reach = identity.eye_width
        self._middle = side * identity.eye_x
        self.box = (
            self._middle - 1.45 * reach,
            -1.25 * reach,
            self._middle + 1.45 * reach,
            1.05 * reach,
        )
        self.window = canvas.window(self.box)
        self._canvas = part = canvas.crop(self.window)
        # u runs from the inner corner (-1) to the outer one (1), v down, both in eye widths.
        self._u = side * (part.x - self._middle) / reach
        self._side = side
        self._v = part.y / reach + identity.eye_tilt / reach * self._u * 0.5
        self._soft = 0.9 / (part.scale * reach)
        within = np.clip(1 - np.abs(self._u + 0.04) ** 2.1, 0, None)
        lean = 1 - 0.16 * self._u
        self._upper = -0.43 * identity.eye_height * within**0.68 * lean
        self._lower = 0.24 * within**0.9 * (1 + 0.18 * self._u)
        self._across = smoothstep(1.06, 0.9, np.abs(self._u + 0.02))
        self._fibres = np.cumsum(rng.normal(size=96)).astype(np.float32)
        self._fibres -= np.linspace(0, self._fibres[-1], 96, dtype=np.float32)
        self._fibres /= np.abs(self._fibres).max()

    def paint(self, skin: np.ndarray, blink: float, gaze: tuple[float, float]) -> np.ndarray:
        """Paints over the skin of `window`, linear BGR.

        Args:
            skin: (height, width, 3) of the window.
            blink: 0 open to 1 shut.
            gaze: where the eye turns, x and y, about -1 to 1.
        """
        v, soft = self._v, self._soft
        lower = self._lower - 0.06 * blink
        upper = self._upper + (lower - 0.02 - self._upper) * blink
        opened = smoothstep(-soft, soft, v - upper) * smoothstep(-soft, soft, lower - v)
        opened = opened * self._across
        image = self._lids(skin, upper, lower, blink)
        image = mix(image, self._eyeball(upper, gaze), opened)
        return self._lashes(image, upper, lower)

    def _eyeball(self, upper: np.ndarray, gaze: tuple[float, float]) -> np.ndarray:
        """Paints white, iris, pupil and highlight, in the shade of the upper lid."""
        identity, u, v = self._identity, self._u, self._v
        x = self._side * gaze[0] * 0.3
        y = gaze[1] * 0.18 - 0.06
        rim = np.clip(np.abs(u) - 0.35, 0, 1)
        white = _WHITE * (1 - 0.55 * rim[..., None] ** 1.3)
        white = mix(white, _PINK, np.broadcast_to(smoothstep(-0.72, -1.0, u), v.shape) * 0.8)
        radius = np.hypot(u - x, v - y) / 0.405
        angle = np.arctan2(v - y, u - x)
        fibre = self._fibres[((angle / (2 * np.pi) + 0.5) * 95).astype(int)]
        glow = 0.75 + 0.75 * smoothstep(-0.5, 1.0, (v - y) / 0.405) * smoothstep(1, 0.5, radius)
        iris = identity.iris * (glow * (1 + 0.35 * fibre))[..., None]
        iris = mix(iris, identity.iris * 0.18, smoothstep(0.72, 1.0, radius))
        iris = mix(iris, _BLACK, smoothstep(0.46, 0.38, radius))
        edge = self._soft / 0.405
        ball = mix(white, iris, smoothstep(1 + edge, 1 - edge, radius))
        ball = ball * (1 - 0.72 * np.exp(-np.clip(v - upper, 0, None) / 0.11))[..., None]
        spot = float(np.sign(identity.light.direction[0])) * self._side * 0.13
        shine = np.exp(-0.5 * (np.hypot(u - x - spot, v - y + 0.15) / 0.065) ** 2)
        return ball * 0.9 + (0.85 * shine)[..., None] * identity.light.key

    def _lids(
        self, skin: np.ndarray, upper: np.ndarray, lower: np.ndarray, blink: float
    ) -> np.ndarray:
        """Paints the fold above the eye, the upper lid and the rim of the lower lid."""
        v, age = self._v, self._identity.age
        fold = self._upper - 0.15 - 0.05 * (1 - np.abs(self._u))
        line = np.exp(-0.5 * ((v - fold) / 0.05) ** 2) * smoothstep(1.15, 0.7, np.abs(self._u))
        between = smoothstep(0, 0.12, v - fold) * smoothstep(0.05, -0.05, v - upper)
        shade = 1 - (0.42 - 0.2 * blink) * line + 0.12 * between * blink
        bag = np.exp(-0.5 * ((v - self._lower - 0.3) / 0.06) ** 2) * smoothstep(
            1, 0.3, np.abs(self._u)
        )
        shade = shade * (1 - (0.08 + 0.16 * age) * bag)
        rim = np.exp(-0.5 * ((v - lower - 0.04) / 0.05) ** 2) * self._across
        return skin * (shade * (1 + 0.16 * rim))[..., None]

    def _lashes(self, image: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """Paints lashes along both lids, thicker at the upper lid and with makeup."""
        u, v, makeup = self._u, self._v, self._identity.makeup
        thick = (0.045 + 0.035 * makeup) * (0.6 + 0.5 * smoothstep(-1, 1, u))
        reach = smoothstep(1.12 + 0.12 * makeup, 0.85, np.abs(u + 0.02))
        line = np.exp(-0.5 * ((v - upper + 0.3 * thick) / thick) ** 2) * reach
        under = np.exp(-0.5 * ((v - lower) / 0.03) ** 2) * reach * (0.35 + 0.35 * makeup)
        dark = np.clip(0.95 * line + under, 0, 0.96)
        return mix(image, _BLACK, dark)
