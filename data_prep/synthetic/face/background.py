"""Paints neck, shoulders, clothes and background: a static layer per clip."""

from collections.abc import Sequence

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


def paint_background(identity: Identity, canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """Paints everything but the head, BGR linear (height, width, 3)."""
    image = _background(identity, canvas, rng)
    neck_colour, neck = _neck(identity, canvas)
    body_colour, body = _body(identity, canvas, rng)
    image = mix(image, neck_colour, neck)
    return np.clip(mix(image, body_colour, body), 0, 1)


def _background(identity: Identity, canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """Paints the blurred background, at a low resolution."""
    first, second = identity.walls
    size = 96
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    toward = identity.light.direction
    ramp = np.clip(0.5 - 0.6 * toward[0] * x + 0.5 * y, 0, 1)
    image = mix(second * 0.5 + first * 0.5, first * 0.42, ramp.astype(np.float32))
    if identity.background == "room":
        for _ in range(rng.integers(4, 8)):
            left, top = rng.integers(-10, size, 2)
            wide, high = rng.integers(8, 40, 2)
            tone = mix(first, second, rng.uniform()) * rng.uniform(0.25, 1.5)
            image[max(top, 0) : top + high, max(left, 0) : left + wide] = tone
        image = cv2.GaussianBlur(image, (0, 0), 2.6)
    elif identity.background == "bokeh":
        image = image * 0.35
        for _ in range(rng.integers(14, 26)):
            centre = rng.integers(0, size, 2).tolist()
            glow = np.zeros((size, size), np.float32)
            cv2.circle(glow, centre, int(rng.integers(3, 9)), 1.0, -1, cv2.LINE_AA)
            tint = mix(first, colour(255, 226, 170), rng.uniform()) * rng.uniform(0.15, 0.6)
            image = image + cv2.GaussianBlur(glow, (0, 0), 0.9)[..., None] * tint
        image = cv2.GaussianBlur(image, (0, 0), 0.8)
    elif identity.background == "outdoors":
        sky, green = colour(176, 206, 230), colour(86, 116, 62) * rng.uniform(0.6, 1.2)
        leaves = cv2.resize(rng.normal(size=(14, 14)).astype(np.float32), (size, size), None, 0, 0,
                            cv2.INTER_CUBIC)  # fmt: skip
        image = mix(sky, green, smoothstep(-0.25, 0.1, y + 0.12 * leaves))
        image = cv2.GaussianBlur(image * (1 + 0.22 * leaves)[..., None], (0, 0), 1.6)
    image = image * (1.12 - 0.9 * (x**2 + y**2))[..., None]
    image = cv2.resize(image, (canvas.width, canvas.height), interpolation=cv2.INTER_CUBIC)
    grain = 1 + 0.01 * canvas.noise(rng, 0.03)
    return np.clip(image, 0, 0.95) * grain[..., None]


def _neck(identity: Identity, canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """Paints the neck, a cylinder in the shade of the chin."""
    x, y = canvas.x, canvas.y
    wide = 0.52 + 0.12 * identity.male
    flare = wide + 0.06 * smoothstep(1.4, 1.0, y) + 0.5 * smoothstep(1.75, 2.7, y) ** 1.5
    cover = smoothstep(0.012, -0.012, np.abs(x) - flare) * smoothstep(0.7, 0.8, y)
    form = 0.75 * np.sqrt(np.clip(1 - (x / (flare * 1.06)) ** 2, 0.02, None))
    cords = 0.03 * np.exp(-0.5 * ((np.abs(x) - 0.42 + 0.24 * (y - 1.5)) / 0.07) ** 2)
    apple = 0.04 * identity.male * canvas.bump(0, identity.chin + 0.28, 0.09, 0.1)
    light, _ = shade_surface(
        (form + cords + apple).astype(np.float32), canvas.scale, identity.light
    )
    toward = identity.light.direction
    drop = y - identity.chin - 0.25 - 0.15 * np.cos(np.clip(1.6 * (x + 0.25 * toward[0]), -2, 2))
    shadow = 1 - smoothstep(-0.15, 0.35, drop)
    dark = 1 - shadow[..., None] * np.array([0.60, 0.58, 0.50], np.float32)
    return identity.skin * np.array([0.93, 0.95, 1.0], np.float32) * light * dark * 0.95, cover


def _body(
    identity: Identity, canvas: Canvas, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paints clothed shoulders, open at the neck."""
    x, y = np.abs(canvas.x), canvas.y
    broad = 1.9 + 0.35 * identity.male
    slope = 1.84 + 0.30 * smoothstep(0.45, broad, x) * x + 0.9 * np.clip(x - broad, 0, None) ** 1.5
    cover = smoothstep(-0.012, 0.012, y - slope) * np.ones_like(x)
    fold = 0.035 * canvas.noise(rng, 0.5, 1.6) + 0.01 * canvas.noise(rng, 0.2, 2.2)
    form = 0.6 * np.sqrt(np.clip(1 - (x / 2.9) ** 2, 0.02, None)) * np.ones_like(y)
    form = form + 0.28 * np.sqrt(np.clip((y - slope) / 0.7, 0, 1)) + canvas.blur(fold, 0.03)
    light, _ = shade_surface(form.astype(np.float32), canvas.scale, identity.light)
    weave = 1 + 0.03 * canvas.noise(rng, 0.02)
    cloth = identity.fabric * weave[..., None]
    style = identity.clothes
    lines = {"crew": (0.60, 2.16), "vee": (0.52, 2.62), "hoodie": (0.62, 2.12)}
    half, bottom = lines.get(style, (0.5, 2.75))
    power = 1.1 if style in ("vee", "shirt", "blazer") else 2.4
    depth = np.clip((y - 1.8) / (bottom - 1.8), 0, None)
    inset = (1 - ((x / half) ** power + depth**power) ** (1 / power)) * half
    inset = inset + 0.12 * smoothstep(2.1, 1.85, y)
    hole = smoothstep(-0.012, 0.012, inset)
    if style in ("crew", "vee", "hoodie"):
        rim = np.exp(-0.5 * ((inset + 0.05) / 0.025) ** 2) + np.exp(
            -0.5 * ((inset + 0.105) / 0.01) ** 2
        )
        cloth = cloth * (1 - 0.2 * rim[..., None])
    if style in ("shirt", "blazer"):
        cloth, hole, form_shade = _collar(identity, canvas, cloth, style)
        light = light * form_shade[..., None]
    if style == "hoodie":
        hood = np.exp(-0.5 * ((inset + 0.2) / 0.09) ** 2)
        light = (
            light * (1 + 0.25 * hood - 0.3 * np.exp(-0.5 * ((inset + 0.36) / 0.03) ** 2))[..., None]
        )
    return cloth * light, cover * (1 - hole)


def _collar(
    identity: Identity, canvas: Canvas, cloth: np.ndarray, style: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paints a shirt's collar, under a jacket's lapels if the style has one."""

    def both(outline: np.ndarray | Sequence[tuple[float, float]]) -> np.ndarray:
        points = np.array(outline, float)
        return np.maximum(canvas.fill(points, 0.006), canvas.fill(points * [-1, 1], 0.006))

    hole = both([(0.0, 1.5), (0.62, 1.5), (0.62, 1.95), (0.0, 2.5)])
    wing = [(0.56, 1.78), (0.70, 2.02), (0.5, 2.52), (0.0, 2.46), (0.05, 2.36), (0.42, 2.05)]
    collar = both(wing)
    shade = 1 - 0.4 * np.clip(canvas.blur(both(np.add(wing, (0.02, 0.05))), 0.03) - collar, 0, 1)
    shirt = identity.lining if style == "blazer" else identity.fabric
    if style == "blazer":
        shirt = mix(identity.lining, colour(236, 238, 240), 0.7)
        front = both([(0.0, 2.0), (0.66, 1.9), (0.52, 2.6), (0.3, 3.2), (0.0, 3.2)])
        cloth = mix(cloth, np.broadcast_to(shirt, cloth.shape), front)
        lapel = [
            (0.66, 1.92),
            (0.98, 2.3),
            (0.84, 2.44),
            (0.93, 2.52),
            (0.5, 3.2),
            (0.3, 3.2),
            (0.5, 2.6),
        ]
        wide = both(lapel)
        shade = (
            shade * (1 - 0.35 * np.clip(canvas.blur(wide, 0.03) - wide, 0, 1)) * (1 + 0.12 * wide)
        )
    else:
        placket = np.exp(-0.5 * ((np.abs(canvas.x) - 0.1) / 0.008) ** 2) * (canvas.y > 2.45)
        shade = shade * (1 - 0.25 * placket)
    cloth = mix(cloth, np.broadcast_to(np.clip(shirt * 1.12, 0, 0.9), cloth.shape), collar)
    return cloth, hole * (1 - collar), shade.astype(np.float32)
