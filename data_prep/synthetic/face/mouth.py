"""Paints the mouth and the lower face of every frame."""

import dataclasses
from typing import TYPE_CHECKING

import cv2
import numpy as np

from lipsync_jax.data_prep.synthetic.face.canvas import (
    Canvas,
    colour,
    mix,
    shade_surface,
    smoothstep,
)
from lipsync_jax.data_prep.synthetic.face.identity import Identity

if TYPE_CHECKING:  # which imports this module
    from lipsync_jax.data_prep.synthetic.face.portrait import FaceState

_GAP = 0.41  # head units between the lips at opening 1
_DROP = 0.21  # head units the chin falls at jaw 1
_THROAT = colour(46, 16, 18)
_ENAMEL = colour(236, 226, 208)
_TONGUE = colour(190, 92, 94)


@dataclasses.dataclass(frozen=True)
class Lips:
    """Contours of one frame, on columns u = -1 (left corner) to 1 of the mouth's canvas.

    Each is (1, columns), ordinates in head units.
    """

    u: np.ndarray
    half_width: float
    upper_outer: np.ndarray
    upper_inner: np.ndarray
    lower_inner: np.ndarray
    lower_outer: np.ndarray
    rest: np.ndarray
    gap: float


class Mouth:
    """The lower face of one identity."""

    def __init__(self, identity: Identity, canvas: Canvas, rng: np.random.Generator):
        self._identity = identity
        middle = identity.mouth_y
        self.jaw_window = canvas.window((-1.16, middle - 0.5, 1.16, identity.chin + 0.4))
        self._jaw = canvas.crop(self.jaw_window)
        self._chin, self._lift, self._pinch = self._fields()
        self._columns = np.arange(self._jaw.width, dtype=np.float32)[None]
        self._rows = np.arange(self._jaw.height, dtype=np.float32)[:, None]
        self._window = self._jaw.window((-0.56, middle - 0.36, 0.56, middle + 0.72))
        self._canvas = self._jaw.crop(self._window)
        self._wrinkles = rng.normal(size=(2, 80)).astype(np.float32)

    def _fields(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Computes the displacement of the skin by jaw, lip lift and spread at each pixel."""
        x, y, middle = self._jaw.x, self._jaw.y, self._identity.mouth_y
        hinge = 1 - smoothstep(0.5, 1.12, np.abs(x))
        chin = smoothstep(middle - 0.28, middle + 0.26, y) * hinge
        near = np.exp(-0.5 * ((y - middle) / 0.22) ** 2)
        lift = np.exp(-0.5 * (x / 0.3) ** 2) * np.exp(-0.5 * ((y - middle + 0.12) / 0.12) ** 2)
        pinch = near * x * np.exp(-0.5 * (x / 0.42) ** 2)
        return chin, lift, pinch

    def lips(self, state: "FaceState") -> Lips:
        """Computes the contours for a `FaceState`."""
        identity, x = self._identity, self._canvas.x
        gap = _GAP * max(state.opening, 0.0)
        press = min(max(-state.opening / 0.3, 0.0), 1.0)
        half = identity.mouth_width * (
            1 + 0.13 * state.width - 0.24 * state.rounding - 0.06 * max(state.opening, 0)
        )
        u = x / half
        inside = np.clip(1 - u**2, 0, None)
        corner = identity.smile + 0.02 * state.width
        rest = identity.mouth_y - corner * u**2 + 0.2 * gap * u**2
        rest = rest + max(0.010 - 0.1 * gap, 0) * np.cos(2.2 * np.pi * u) * inside
        bow = (
            1 - 0.24 * np.exp(-((u / 0.13) ** 2)) + 0.12 * np.exp(-(((np.abs(u) - 0.3) / 0.2) ** 2))
        )
        plump = (1 + 0.22 * state.rounding) * (1 - 0.5 * press) * (1 - 0.18 * state.opening)
        above = identity.upper_lip * plump * bow * inside ** (0.72 - 0.22 * state.rounding)
        below = identity.lower_lip * plump * inside ** (0.62 - 0.1 * state.rounding)
        below = below * (1 - 0.4 * state.tuck)
        hole = np.clip(1 - (u / (1 - 0.3 * state.rounding)) ** 2, 0, None)  # flesh all around
        raised, lowered = (0.14 + 0.1 * state.tuck) * gap, 0.86 * gap
        return Lips(
            u=u,
            half_width=float(half),
            upper_outer=rest - raised * inside**0.6 - above,
            upper_inner=rest - raised * hole**0.8,
            lower_inner=rest + lowered * hole**0.62 - 0.03 * state.tuck * inside,
            lower_outer=rest + lowered * inside**0.62 + below - 0.03 * state.tuck * inside,
            rest=rest,
            gap=float(gap),
        )

    def corners(self, state: "FaceState") -> np.ndarray:
        """Returns the mouth corners, image-left first, (2, 2) in head units."""
        lips = self.lips(state)
        y = self._identity.mouth_y - self._identity.smile - 0.02 * state.width + 0.2 * lips.gap
        return np.array([[-lips.half_width, y], [lips.half_width, y]])

    def move_skin(self, skin: np.ndarray, state: "FaceState") -> np.ndarray:
        """Warps the lower face by jaw and lips: BGRA uint8 of `jaw_window`."""
        scale = self._jaw.scale
        spread = 0.1 * state.width - 0.2 * state.rounding
        down = _DROP * state.jaw * self._chin - 0.05 * max(state.opening, 0) * self._lift
        map_x = self._columns - scale * spread * self._pinch
        return cv2.remap(
            skin, map_x.astype(np.float32), (self._rows - scale * down).astype(np.float32),
            cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip

    def paint(self, skin: np.ndarray, state: "FaceState") -> np.ndarray:
        """Paints lips and mouth interior on BGRA uint8 skin of `jaw_window`, in place."""
        lips = self.lips(state)
        patch = skin[self._window]
        image = (patch[..., :3].astype(np.float32) / 255) ** 2
        image = self._shade_surroundings(image, lips, state)
        top, bottom = lips.upper_outer.min() - 0.04, lips.lower_outer.max() + 0.04
        rows, columns = self._canvas.window((-1, top, 1, bottom))
        canvas = self._canvas.crop((rows, columns))
        image[rows] = self._paint_lips(
            canvas, image[rows], self._mouth_interior(canvas, lips, state), lips
        )
        patch[..., :3] = np.sqrt(np.clip(image, 0, 1)) * 255 + 0.5
        return skin

    def _shade_surroundings(self, image: np.ndarray, lips: Lips, state: "FaceState") -> np.ndarray:
        """Paints shade below the lower lip and at the corners, and the folds of a wide mouth."""
        x, y, identity = self._canvas.x, self._canvas.y, self._identity
        inside = np.clip(1 - lips.u**2, 0, None)
        below = np.exp(-0.5 * ((y - lips.lower_outer - 0.055) / 0.05) ** 2) * inside**0.5
        ridge = np.exp(-0.5 * ((y - lips.upper_outer + 0.016) / 0.012) ** 2) * inside**0.5
        corner = np.exp(
            -0.5 * (((np.abs(x) - lips.half_width) / 0.035) ** 2 + ((y - lips.rest) / 0.04) ** 2)
        )
        fold = np.exp(
            -0.5 * ((np.abs(x) - lips.half_width - 0.09 - 0.04 * (y - lips.rest)) / 0.03) ** 2
        )
        fold = fold * np.exp(-0.5 * ((y - lips.rest) / 0.13) ** 2) * (0.25 + 0.5 * identity.age)
        dark = 0.26 * below + 0.42 * corner + fold * max(0.25, 0.25 + 0.6 * state.width)
        return image * (1 - np.clip(dark, 0, 0.8) * 0.9 + 0.08 * ridge)[..., None]

    def _mouth_interior(self, canvas: Canvas, lips: Lips, state: "FaceState") -> np.ndarray:
        """Paints throat, tongue and teeth, BGR of the lips' canvas."""
        y, u, soft = canvas.y, lips.u, 0.8 / canvas.scale
        opening = lips.lower_inner - lips.upper_inner
        deep = smoothstep(0.0, 0.22, opening)
        image = np.broadcast_to(_THROAT, (*np.broadcast_shapes(y.shape, u.shape), 3))
        image = image * (1.25 - 0.5 * deep * (1 - u**2))[..., None]

        bed = lips.lower_inner - (0.34 - 0.05 * u**2) * opening * (1 - 0.4 * u**2)
        tip = lips.rest + 0.075 + 0.25 * u**2
        top = bed + (tip - bed) * state.tongue
        form = smoothstep(-0.02, 0.03, y - top) * smoothstep(0.85, 0.5, np.abs(u))
        depth = np.clip((y - top) / 0.12, 0, 1)
        tongue = _TONGUE * (0.32 + 0.45 * depth - 0.16 * np.exp(-((u / 0.07) ** 2)))[..., None]
        image = mix(image, tongue, form * (0.75 + 0.25 * state.tongue))

        reach = lips.half_width / 0.37
        crown = np.abs(np.sin(np.pi * u * 3.1 * reach))
        arch = smoothstep(0.98, 0.55, np.abs(u) / np.clip(0.62 + 0.5 * (1 - state.rounding), 0, 1))
        lit_teeth = (0.92 - 0.5 * u**2) * (1 - 0.3 * smoothstep(0.16, 0.0, crown))
        shadow = 1 - 0.55 * np.exp(-np.clip(y - lips.upper_inner, 0, None) / 0.03)
        edge = lips.rest + self._identity.teeth + 0.006 * (crown > 0.3) - 0.02 * u**2
        edge = edge - 0.05 * state.rounding  # lips pushed forward hide them
        row = smoothstep(soft, -soft, y - edge) * arch
        bright = (0.6 + 0.3 * deep) * (1 - 0.55 * state.rounding)
        upper = _ENAMEL * (lit_teeth * shadow * bright)[..., None]

        low = lips.lower_inner - (0.02 + 0.03 * (1 - state.rounding)) * smoothstep(
            0.02, 0.1, opening
        )
        low = low - 0.35 * np.clip(0.25 - state.jaw, 0, 1) * opening
        bottom = _ENAMEL * (0.46 * lit_teeth * (1 - 0.8 * state.rounding))[..., None]
        image = mix(
            image,
            bottom,
            smoothstep(-soft, soft, y - low)
            * arch
            * 0.9
            * (1 - state.tuck)
            * (1 - 0.8 * state.tongue),
        )
        return mix(image, upper, row)

    def _paint_lips(
        self, canvas: Canvas, image: np.ndarray, inside: np.ndarray, lips: Lips
    ) -> np.ndarray:
        """Paints lips over the skin, and the interior where they part."""
        x, y, identity, scale = canvas.x, canvas.y, self._identity, canvas.scale
        soft = 1.0 / scale
        above = np.maximum(lips.upper_inner - lips.upper_outer, 1e-4)
        below = np.maximum(lips.lower_outer - lips.lower_inner, 1e-4)
        t = np.clip((y - lips.upper_outer) / above, 0, 1)
        s = np.clip((y - lips.lower_inner) / below, 0, 1)
        is_upper = y < lips.upper_inner
        bulge = np.where(
            is_upper,
            0.55 * above * (1 - (1 - t) ** 2.2),
            0.62 * below * np.sin(np.pi * (0.18 + 0.81 * s)) ** 0.8,
        )
        roll = np.where(is_upper, t, 1 - s)  # 1 at the inner edge
        light, shine = shade_surface(bulge.astype(np.float32) - 0.25 * x**2, scale, identity.light)
        position = np.clip((lips.u + 1) * 39.5, 0, 78.9)
        wrinkle = np.stack([np.interp(position[0], np.arange(80), row) for row in self._wrinkles])
        wrinkle = wrinkle.astype(np.float32)
        grain = 1 + 0.05 * np.where(is_upper, wrinkle[:1], wrinkle[1:])
        tone = identity.lips * (grain * (1 - 0.42 * smoothstep(0.62, 1.0, roll)))[..., None]
        wet = (0.05 + 0.1 * identity.makeup) * np.where(is_upper, 0.35, 1.0) * (1 + 2 * (grain - 1))
        flesh = tone * light * np.where(is_upper, 0.86, 1.0)[..., None]
        flesh = flesh + (wet * shine**22)[..., None] * identity.light.key

        across = smoothstep(1.03, 0.97, np.abs(lips.u))
        border = 0.016
        shape = smoothstep(-border, border * 0.6, y - lips.upper_outer)
        shape = shape * smoothstep(-border * 1.3, border * 0.6, lips.lower_outer - y) * across
        image = mix(image, flesh, shape)
        open_ = smoothstep(-soft, soft, y - lips.upper_inner) * smoothstep(
            -soft, soft, lips.lower_inner - y
        )
        open_ = open_ * smoothstep(0.0, 0.012, lips.lower_inner - lips.upper_inner) * across
        seam = np.exp(-0.5 * ((y - 0.5 * (lips.upper_inner + lips.lower_inner)) / 0.009) ** 2)
        seam = seam * smoothstep(0.06, 0.0, lips.lower_inner - lips.upper_inner) * across
        image = mix(image, _THROAT * 0.8, 0.72 * seam)
        return mix(image, inside, open_)
