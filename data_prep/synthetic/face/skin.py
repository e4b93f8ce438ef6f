"""Paints the head without eyes, lips and hair; shaded once per clip."""

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

TEMPLE = -0.35  # y of the widest part of the head
CROWN = -1.66


def half_width(identity: Identity, y: np.ndarray) -> np.ndarray:
    """Computes half the width of the head at ordinates y; 0 above the crown and below the chin."""
    above = np.clip((TEMPLE - y) / (TEMPLE - CROWN), 0, 1)
    below = np.clip((y - TEMPLE) / (identity.chin - TEMPLE), 0, 1)
    jaw = 2.75 + 1.2 * identity.jaw
    full = 1 + (identity.cheeks - 1) * smoothstep(0.0, 0.8, y)
    return (
        0.985
        * full
        * np.where(y < TEMPLE, (1 - above**2.3) ** (1 / 2.1), (1 - below**jaw) ** (1 / 2.3))
    )


def outline(identity: Identity) -> np.ndarray:
    """Computes the head's outline without hair and ears, (n, 2), clockwise from the crown."""
    turn = np.linspace(0, np.pi, 160)
    y = 0.5 * (CROWN + identity.chin) - 0.5 * (identity.chin - CROWN) * np.cos(turn)
    x = half_width(identity, y)
    return np.concatenate([np.stack([x, y], 1), np.stack([-x, y], 1)[::-1]])


def relief(identity: Identity, canvas: Canvas, mask: np.ndarray) -> np.ndarray:
    """Computes the height of the face towards the viewer, head units, without eyes and lips."""
    x, y = canvas.x, canvas.y
    bump, pair = canvas.bump, canvas.pair
    ball = 1.02 - (x / 1.12) ** 2 * (1 - 0.1 * smoothstep(0, 1, y)) - ((y - 0.05) / 2.25) ** 2
    z = 0.92 * np.sqrt(np.clip(ball, 0.01, None))
    inside = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 5) / canvas.scale
    edge = 1 - np.clip(inside / 0.34, 0, 1)
    z = z + canvas.blur(0.26 * np.sqrt(1 - edge**2), 0.03)

    male, age = identity.male, identity.age
    z += 0.035 * pair(0.36, -0.30, 0.2, 0.07) * (0.5 + male)  # brow ridge
    z += 0.03 * bump(0, -0.75, 0.5, 0.3)  # forehead
    z -= 0.05 * pair(0.9, -0.45, 0.12, 0.3)  # temples
    z -= 0.12 * pair(0.31, -0.06, 0.12, 0.11) + 0.09 * pair(0.5, -0.02, 0.16, 0.12)  # sockets
    z += 0.085 * pair(identity.eye_x, 0.0, 0.13, 0.085)  # eyeballs
    z += 0.05 * pair(0.62, 0.33, 0.2, 0.16)  # cheekbones
    z += (0.045 - 0.02 * male) * pair(0.42, 0.5, 0.17, 0.15)  # apples of the cheeks
    z -= (0.02 + 0.04 * age) * _creases(identity, x, y)
    z += _nose(identity, canvas)
    mouth = identity.mouth_y
    z += 0.10 * bump(0, mouth, 0.34, 0.26)  # muzzle
    z -= 0.022 * bump(0, mouth - 0.22, 0.035, 0.08)  # philtrum
    z += 0.014 * pair(0.065, mouth - 0.2, 0.025, 0.08)
    z -= 0.05 * bump(0, mouth + 0.25, 0.19, 0.055)  # fold above the chin
    z += (0.07 + 0.03 * male) * bump(0, identity.chin - 0.2, 0.2, 0.12)
    z -= 0.05 * pair(0.62, 0.95, 0.14, 0.25) * (1.4 - identity.cheeks)
    return z


def _nose(identity: Identity, canvas: Canvas) -> np.ndarray:
    """Computes the relief of the nose."""
    x, y, tip = canvas.x, canvas.y, identity.nose_y
    wide = identity.nose_width
    along = np.clip((y + 0.2) / (tip + 0.2), 0, 1)
    height = (0.06 + 0.17 * along**1.2) * smoothstep(-0.32, -0.02, y)
    height = height * (1 - smoothstep(tip - 0.05, tip + 0.17, y))
    spread = (0.075 + 0.06 * along**2) * (0.75 + 0.25 * wide)
    nose = identity.nose_bridge * height * np.exp(-0.5 * (x / spread) ** 2)
    nose += 0.12 * canvas.bump(0, tip - 0.01, 0.095 * wide, 0.085)
    nose += 0.085 * canvas.pair(0.15 * wide, tip + 0.025, 0.06 * wide, 0.06)
    return nose - 0.03 * canvas.pair(0.25 * wide, tip + 0.02, 0.04, 0.08)


def _creases(identity: Identity, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Computes the nasolabial folds, 0 to 1."""
    top, bottom = identity.nose_y + 0.02, identity.mouth_y + 0.1
    along = (y - top) / (bottom - top)
    line = 0.23 * identity.nose_width + 0.26 * np.clip(along, 0, 1.4) ** 0.75
    fade = smoothstep(-0.1, 0.2, along) * (1 - smoothstep(0.5, 1.15, along))
    return fade * np.exp(-0.5 * ((np.abs(x) - line) / 0.05) ** 2)


def skin_texture(identity: Identity, canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """Computes the albedo of the skin, (height, width, 3)."""
    bump, pair = canvas.bump, canvas.pair
    red = 0.5 * pair(0.58, 0.42, 0.22, 0.17) + 0.55 * bump(0, identity.nose_y, 0.16, 0.12)
    red += 0.25 * bump(0, identity.chin - 0.2, 0.2, 0.12) + 0.4 * pair(1.03, 0.15, 0.1, 0.25)
    red = red * identity.blush + 0.05 * canvas.noise(rng, 0.15)
    dark = (0.25 + 0.3 * identity.age) * pair(identity.eye_x - 0.03, 0.13, 0.15, 0.05)
    dark += 0.35 * pair(identity.eye_x, -0.09, 0.19, 0.06) * (0.4 + identity.makeup)
    strength = 1 - 0.45 * identity.melanin
    tint = 1 + red[..., None] * np.array([-0.26, -0.24, 0.03], np.float32) * strength
    tint *= 1 - dark[..., None] * np.array([0.38, 0.42, 0.30], np.float32)
    pores = 0.016 * canvas.noise(rng, 0.022) + 0.014 * canvas.noise(rng, 0.06)
    tint *= (1 + pores + 0.018 * canvas.noise(rng, 0.3))[..., None]
    skin = identity.skin * tint
    if identity.freckles > 0:
        spots = smoothstep(1.5, 2.2, canvas.noise(rng, 0.03)) * (
            pair(0.4, 0.35, 0.25, 0.18) + bump(0, 0.3, 0.2, 0.2)
        )
        skin = mix(skin, identity.skin * np.array([0.42, 0.5, 0.62], np.float32),
                   np.clip(identity.freckles * spots, 0, 0.7))  # fmt: skip
    return skin


def _hairs_on_skin(
    identity: Identity, canvas: Canvas, skin: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Paints brows and beard."""
    tone = identity.hair_colour * min(0.55, 0.2 / float(identity.hair_colour.max()))
    shave = smoothstep(0.62, 1.0, canvas.y) * (1 - 0.9 * canvas.bump(0, 0.8, 0.3, 0.14))
    skin = mix(skin, skin * np.array([0.8, 0.72, 0.66], np.float32), 0.5 * identity.shadow * shave)
    beard = _beard(identity, canvas)
    if beard is not None:
        grain = 1 + 0.12 * canvas.noise(rng, 0.018, 3.0)
        skin = mix(skin, tone * (1 + 0.25 * canvas.noise(rng, 0.02, 2.5)[..., None]),
                   np.clip(beard * grain, 0, 0.93))  # fmt: skip
    hairs, soft = _brows(identity, canvas, rng)
    return mix(mix(skin, tone, 0.5 * soft), tone * 0.9, 0.85 * hairs)


def _beard(identity: Identity, canvas: Canvas) -> np.ndarray | None:
    """Computes the coverage of the beard, 0 to 1."""
    x, y, mouth = np.abs(canvas.x), canvas.y, identity.mouth_y
    if identity.beard == "none":
        return None
    lip = (
        smoothstep(mouth - 0.32, mouth - 0.2, y + 0.25 * x**2)
        * (1 - smoothstep(0.40, 0.52, x - 0.25 * (y - mouth)))
        * (1 - smoothstep(mouth + 0.0, mouth + 0.1, y))
    )
    if identity.beard == "moustache":
        return lip
    chin = smoothstep(mouth + 0.13, mouth + 0.25, y + 0.7 * np.clip(x - 0.15, 0, 1) ** 1.2)
    around = smoothstep(0.36, 0.44, x) * smoothstep(mouth - 0.2, mouth - 0.05, y)
    around *= 1 - smoothstep(0.46, 0.60, x)
    goatee = np.clip(lip + around + chin * (1 - smoothstep(0.38, 0.52, x)), 0, 1)
    if identity.beard == "goatee":
        return goatee
    cheek = smoothstep(0.0, 0.16, y - (0.95 - 0.95 * smoothstep(0.45, 1.0, x)))
    cheek *= smoothstep(0.4, 0.52, x)
    return np.clip(goatee + chin + cheek, 0, 1) * 0.95 * smoothstep(1.0, 0.94, x)


def _brows(
    identity: Identity, canvas: Canvas, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paints the brows: single hairs and their soft shade."""
    count, weight = 240, identity.brow_weight
    along = rng.uniform(0, 1, 2 * count)
    side = np.repeat([-1, 1], count)
    thickness = 0.052 * weight * (1 - along**2.5 * 0.75) * smoothstep(-0.25, 0.2, along)
    x = 0.17 + 0.53 * along
    bend = identity.brow_arch * (
        np.sin(np.pi * np.clip(along / 1.25, 0, 1)) ** 1.3 - 0.55 * along**3
    )
    y = identity.brow_y - bend - 0.3 * identity.eye_tilt * along + 0.025 * (1 - along) ** 2
    y = y + thickness * rng.uniform(-1, 1, along.size)
    angle = np.pi * (0.36 - 0.42 * along) + rng.normal(0, 0.12, along.size)
    length = 0.075 * (1 - 0.3 * along)
    ends = np.stack([x + length * np.cos(angle), y - length * np.sin(angle)], 1)
    lines = np.stack([np.stack([x, y], 1), ends], 1)
    lines[..., 0] *= side[:, None]
    hairs = canvas.strokes(lines, 0.006, np.full(along.size, 0.8))
    return canvas.blur(hairs, 0.006), np.clip(1.6 * canvas.blur(hairs, 0.025), 0, 1)


def paint_head(
    identity: Identity, canvas: Canvas, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paints the head without eyes, lips and hair.

    Returns:
        colour (height, width, 3), coverage (height, width) and relief (height, width).
    """
    mask = canvas.fill(outline(identity))
    ears = _ears(canvas)
    z = relief(identity, canvas, mask)
    light, shine = shade_surface(z, canvas.scale, identity.light)
    hollow = np.clip(canvas.blur(z, 0.09) - z, 0, None) + 0.5 * np.clip(
        canvas.blur(z, 0.03) - z, 0, None
    )
    light *= np.exp(-np.array([6.0, 5.2, 3.8], np.float32) * hollow[..., None])
    skin = _hairs_on_skin(identity, canvas, skin_texture(identity, canvas, rng), rng)
    oily = 0.05 + 0.05 * canvas.bump(0, 0.3, 0.3, 0.5) + 0.05 * canvas.bump(0, -0.7, 0.4, 0.25)
    oily = oily * (1 + 0.15 * canvas.noise(rng, 0.018)) * (1 - 0.35 * identity.makeup)
    image = skin * light
    image += (oily * (shine**28 + 0.45 * shine**7))[..., None] * identity.light.key * 0.9
    image = _nostrils(identity, canvas, image)
    ear = skin * (0.5 + 0.3 * canvas.noise(rng, 0.1)[..., None] * 0.1) * 0.85
    image = mix(_ear_colour(identity, canvas, ear), image, mask)
    return np.clip(image, 0, 1), np.clip(mask + ears * (1 - mask), 0, 1), z


def _nostrils(identity: Identity, canvas: Canvas, image: np.ndarray) -> np.ndarray:
    """Paints the nostrils and the shade beneath the nose."""
    wide, tip = identity.nose_width, identity.nose_y
    holes = canvas.pair(0.082 * wide, tip + 0.088, 0.034 * wide, 0.017)
    image = mix(
        image, image * np.array([0.16, 0.17, 0.28], np.float32), np.clip(1.15 * holes, 0, 0.92)
    )
    shade = canvas.bump(0.05 * -np.sign(identity.light.direction[0]), tip + 0.15, 0.15, 0.045)
    return image * (1 - 0.18 * shade[..., None] * np.array([1.1, 1.05, 0.8], np.float32))


def _ears(canvas: Canvas) -> np.ndarray:
    """Computes the coverage of both ears."""
    turn = np.linspace(0, 2 * np.pi, 40)
    radius = 1 + 0.12 * np.cos(turn - 2.2)
    ear = np.stack([1.0 + 0.115 * radius * np.cos(turn), 0.14 + 0.32 * radius * np.sin(turn)], 1)
    ear[:, 0] += 0.12 * (0.14 - ear[:, 1])
    return np.clip(canvas.fill(ear) + canvas.fill(ear * [-1, 1]), 0, 1)


def _ear_colour(identity: Identity, canvas: Canvas, ear: np.ndarray) -> np.ndarray:
    """Paints the ears: a bright rim and a dark bowl."""
    bowl = canvas.pair(1.0, 0.16, 0.05, 0.15)
    side = 0.5 + 0.5 * np.sign(identity.light.direction[0]) * np.sign(canvas.x)
    tone = (0.75 + 0.35 * side) * (1 - 0.5 * bowl)
    return np.clip(ear * tone[..., None] * colour(255, 236, 230) * 1.6, 0, 1)
