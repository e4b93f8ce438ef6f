"""Renders a portrait: static layers are painted once, the face for every frame."""

import dataclasses

import cv2
import numpy as np

from lipsync_jax.data_prep.synthetic.face.background import paint_background
from lipsync_jax.data_prep.synthetic.face.canvas import Canvas, smoothstep
from lipsync_jax.data_prep.synthetic.face.eyes import Eye
from lipsync_jax.data_prep.synthetic.face.hair import paint_hair
from lipsync_jax.data_prep.synthetic.face.identity import Identity
from lipsync_jax.data_prep.synthetic.face.mouth import Mouth
from lipsync_jax.data_prep.synthetic.face.skin import paint_head

FRAME = (-2.6, -2.45, 2.6, 2.75)  # extent of a square frame, head units
_HEAD = (-1.75, -2.35, 1.75, 2.5)
_PLATE = (-2.8, -2.65, 2.8, 2.95)
_PIVOT = np.array([0.0, 1.3])  # centre of rotation of the head
_AXIS = 0.3  # depth of the vertical axis of rotation
_STEP = 8  # the pose map is computed at every n-th pixel


@dataclasses.dataclass(frozen=True)
class FaceState:
    """Pose and expression of a face in one frame.

    Attributes:
        jaw: 0 shut to 1 wide.
        opening: gap between the lips, 0 to 1; negative values press them together.
        width: mouth width, -1 to 1.
        rounding: lip protrusion, 0 to 1.
        tuck: lower lip under the upper teeth, 0 to 1.
        tongue: tip in view, 0 to 1.
        blink: 0 open to 1 shut.
        gaze: eye direction, x and y in -1 to 1.
        brow: raised brows, -1 to 1.
        yaw: radians, positive turns the face to the image's right.
        pitch: radians, positive nods down.
        roll: radians, positive tilts clockwise.
        shift: of the head, head units.
        zoom: size of the head, about 1.
        camera: shift of the whole frame, head units.
    """

    jaw: float = 0.0
    opening: float = -0.05
    width: float = 0.0
    rounding: float = 0.0
    tuck: float = 0.0
    tongue: float = 0.0
    blink: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)
    brow: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    camera: tuple[float, float] = (0.0, 0.0)


class Portrait:
    """One rendered identity."""

    def __init__(self, identity: Identity, scale: float):
        """Paints the static layers.

        Args:
            identity: parameters of the face.
            scale: pixels per head unit of the layers, twice the scale of the frames.
        """
        rng = np.random.default_rng(identity.seed)
        self.identity = identity
        self._canvas = canvas = Canvas.over(_HEAD, scale)
        self._plate_canvas = Canvas.over(_PLATE, scale / 2)  # out of focus
        colour, cover, relief = paint_head(identity, canvas, rng)
        (hair, front), (behind, back) = paint_hair(identity, canvas, rng)
        shade = canvas.blur(np.roll(front, round(0.06 * scale), axis=0), 0.06)
        colour = colour * (1 - 0.5 * shade * (1 - front))[..., None]
        glasses, rims = _glasses(identity, canvas)
        self._skin = _layer(colour, cover)
        self._behind = _layer(behind, back)
        self._front = _over(_layer(glasses, rims), _layer(hair, front))
        self._depth = canvas.blur(np.clip(relief, 0.25, None).astype(np.float32), 0.07)
        self._static_head = _over(self._front, _over(self._skin, self._behind))
        self._eyes = [Eye(identity, canvas, side, rng) for side in (-1, 1)]
        self._cached_eyes: tuple | None = None  # the last eyes painted, and for which state
        self._mouth = Mouth(identity, canvas, rng)
        plate = paint_background(identity, self._plate_canvas, rng)
        self._plate = _layer(plate, np.ones(plate.shape[:2], np.float32))

    def render(
        self,
        state: FaceState,
        size: tuple[int, int],
        window: tuple[float, float, float, float] = FRAME,
    ) -> np.ndarray:
        """Renders a frame.

        Args:
            state: the face at that moment.
            size: rows and columns of the frame.
            window: left, top, right and bottom of what it shows, head units of the frame.

        Returns:
            BGR uint8 (rows, columns, 3).
        """
        rows, columns = size[0] * 2, size[1] * 2  # rendered at twice the size, then averaged
        map_x, map_y = self._pose_maps(state, rows, columns, window)
        head = cv2.remap(self._animated_head(state), map_x, map_y, cv2.INTER_LINEAR)
        head = cv2.resize(head, size[::-1], interpolation=cv2.INTER_AREA)
        step = np.array([(window[2] - window[0]) / size[1], (window[3] - window[1]) / size[0]])
        scale = self._plate_canvas.scale
        start = self._plate_canvas.pixels(np.array(window[:2]) + step / 2 - state.camera)
        plate = cv2.warpAffine(
            self._plate,
            np.array([[step[0] * scale, 0, start[0]], [0, step[1] * scale, start[1]]]),
            size[::-1],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return _over(head, plate)[..., :3].copy()

    def landmarks(self, state: FaceState) -> np.ndarray:
        """Returns eyes, nose tip, mouth corners, image-left first: float64 (5, 2), head units."""
        identity = self.identity
        points = [
            (-identity.eye_x, -0.02), (identity.eye_x, -0.02), (0.0, identity.nose_y),
            *self._mouth.corners(state),
        ]  # fmt: skip
        return self.project(np.array(points), state)

    def box(self, state: FaceState) -> np.ndarray:
        """Returns the box of an ideal face detector, float64 (4,): forehead to chin without ears.

        Fitted to libfacedetection's on 320 images, except how the jaw moves the lower edge: the
        crop would tell what the mouth does.
        """
        identity = self.identity
        x, y = self.project(np.array([[-0.04, 0.3]]), state)[0]
        x, y = x - 0.55 * state.yaw, y - 0.37 * state.pitch
        side = 0.95 + 0.3 * (identity.cheeks - 1)
        reach = np.array([side, 1.32, side, 1.39 + 0.3 * (identity.chin - 1.7)]) * state.zoom
        return np.array([x, y, x, y]) + reach * [-1, -1, 1, 1]

    def project(self, points: np.ndarray, state: FaceState) -> np.ndarray:
        """Projects points (n, 2) of the face at rest, head units, to the frame."""
        turned = np.array(points, float)
        for _ in range(4):  # the parallax is known at the place it leads to
            turned = points + self._parallax(turned[:, 0], turned[:, 1], state)
        turned = (turned - _PIVOT) * [np.cos(state.yaw), 1]
        cosine, sine = np.cos(state.roll), np.sin(state.roll)
        turned = turned @ np.array([[cosine, sine], [-sine, cosine]]) * state.zoom
        return turned + _PIVOT + state.shift + state.camera

    def _animated_head(self, state: FaceState) -> np.ndarray:
        """Paints the head with eyes and mouth of a state, BGRA uint8 premultiplied."""
        head = self._static_head.copy()
        window = self._mouth.jaw_window
        skin = self._mouth.move_skin(self._skin[window], state)
        skin = self._mouth.paint(skin, state)
        head[window] = _over(self._front[window], _over(skin, self._behind[window]))
        if self._cached_eyes is None or self._cached_eyes[0] != (state.blink, state.gaze):
            # Eyes rest for many frames on end.
            self._cached_eyes = (
                (state.blink, state.gaze),
                [self._render_eye(eye, state) for eye in self._eyes],
            )
        for eye, patch in zip(self._eyes, self._cached_eyes[1], strict=True):
            head[eye.window] = patch
        return head

    def _render_eye(self, eye: Eye, state: FaceState) -> np.ndarray:
        """Paints one eye and the layers in front of the eye."""
        skin = (self._skin[eye.window][..., :3].astype(np.float32) / 255) ** 2
        patch = np.full((*skin.shape[:2], 4), 255, np.uint8)
        patch[..., :3] = _display(eye.paint(skin, state.blink, state.gaze))
        return _over(self._front[eye.window], patch)

    def _parallax(self, x: np.ndarray, y: np.ndarray, state: FaceState) -> np.ndarray:
        """Computes the displacement of points (x, y) by a turn of the head, (..., 2)."""
        at = self._canvas.pixels(np.stack([np.atleast_2d(x), np.atleast_2d(y)], -1))
        depth = cv2.remap(
            self._depth, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ).reshape(np.shape(x))
        depth = depth - _AXIS
        move = np.stack([np.sin(state.yaw) * depth, np.sin(state.pitch) * depth], -1)
        lift = smoothstep(-0.75, -0.4, y) * smoothstep(-0.08, -0.25, y)
        move[..., 1] -= 0.05 * state.brow * lift
        return move

    def _pose_maps(
        self, state: FaceState, rows: int, columns: int, window: tuple[float, float, float, float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Computes the source position of each frame pixel on the head's canvas."""
        # A coarse grid with a cell to spare on each side, since resizing clamps at the border.
        grid_x = (np.arange(-1, -(-columns // _STEP) + 1) + 0.5) * _STEP / columns
        grid_y = (np.arange(-1, -(-rows // _STEP) + 1) + 0.5) * _STEP / rows
        x = window[0] + (window[2] - window[0]) * grid_x
        y = window[1] + (window[3] - window[1]) * grid_y
        points = np.stack(np.meshgrid(x, y), -1) - _PIVOT - state.shift - state.camera
        cosine, sine = np.cos(state.roll), np.sin(state.roll)
        points = points @ np.array([[cosine, -sine], [sine, cosine]]) / state.zoom
        points = points / [np.cos(state.yaw), 1] + _PIVOT
        source = points - self._parallax(points[..., 0], points[..., 1], state)
        maps = self._canvas.pixels(source)
        maps = cv2.resize(maps, None, fx=_STEP, fy=_STEP, interpolation=cv2.INTER_LINEAR)
        maps = maps[_STEP : _STEP + rows, _STEP : _STEP + columns]
        return np.ascontiguousarray(maps[..., 0]), np.ascontiguousarray(maps[..., 1])


def _display(image: np.ndarray) -> np.ndarray:
    """Converts linear light to uint8."""
    return (np.sqrt(np.clip(image, 0, 1)) * 255 + 0.5).astype(np.uint8)


def _layer(image: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Converts to BGRA uint8, colours premultiplied in display values."""
    shown = np.sqrt(np.clip(image, 0, 1)) * cover[..., None]
    return (np.dstack([shown, cover]) * 255 + 0.5).astype(np.uint8)


def _over(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Composites a premultiplied BGRA layer over another."""
    remaining = cv2.cvtColor(cv2.bitwise_not(above[..., 3]), cv2.COLOR_GRAY2BGRA)
    remaining[..., 3] = remaining[..., 0]
    return cv2.add(above, cv2.multiply(below, remaining, scale=1 / 255))


def _glasses(identity: Identity, canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """Paints glasses with a faint reflection, as colour and coverage."""
    image = np.zeros((canvas.height, canvas.width, 3), np.float32)
    if identity.glasses == "none":
        return image, image[..., 0]
    x, y = np.abs(canvas.x), canvas.y - 0.03
    power = 2.0 if identity.glasses == "round" else 3.6
    wide, high = (0.31, 0.29) if identity.glasses == "round" else (0.34, 0.25)
    lens = (np.abs((x - 0.44) / wide) ** power + np.abs(y / high) ** power) ** (1 / power)
    thick = 0.036
    edge = 0.5 * (wide + high) * np.abs(lens - 1)
    rim = smoothstep(thick, thick - 0.016, edge)
    bridge = smoothstep(thick, thick - 0.016, np.abs(y + 0.07 - 0.3 * x**2)) * (x < 0.16)
    arm = smoothstep(thick, thick - 0.016, np.abs(y + 0.06)) * (x > 0.44 + wide) * (x < 1.0)
    rim = np.clip(np.maximum(np.maximum(rim, bridge), arm), 0, 1)
    slope = np.clip(1 - np.abs(canvas.x * 0.8 + canvas.y + 0.1) / 0.16, 0, 1)
    glare = 0.10 * smoothstep(1.0, 0.94, lens) * slope
    cover = np.clip(rim + glare * (1 - rim), 0, 1)
    bright = (
        identity.frame_colour * (1 + 1.2 * np.exp(-0.5 * ((edge - 0.006) / 0.008) ** 2))[..., None]
    )
    image = bright * rim[..., None] + (1 - rim)[..., None]
    return image.astype(np.float32), cover.astype(np.float32)
