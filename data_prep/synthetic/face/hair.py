"""Paints hair as strands between guide curves, in front of the head and behind the head."""

import numpy as np
from scipy.interpolate import CubicSpline

from lipsync_jax.data_prep.synthetic.face.canvas import Canvas, shade_surface, smoothstep
from lipsync_jax.data_prep.synthetic.face.identity import Identity
from lipsync_jax.data_prep.synthetic.face.skin import CROWN, TEMPLE


def _comb(
    guides: np.ndarray, count: int, rng: np.random.Generator, spread: float, wave: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Strands between guide curves.

    Args:
        guides: (guides, points, 2), each from root to tip, neighbours side by side.
        count: strands.
        rng: where they are and how they stray.
        spread: how far tips stray, head units.
        wave: amplitude of waves towards the tips, head units.

    Returns:
        strands (count, 24, 2), and the polygon they cover, (n, 2).
    """
    guides = np.asarray(guides, float)
    across = CubicSpline(np.linspace(0, 1, len(guides)), guides) if len(guides) > 2 else None
    along = np.linspace(0, 1, guides.shape[1])
    t = np.linspace(0, 1, 24)

    def strands(q: np.ndarray, reach: np.ndarray) -> np.ndarray:
        control = across(q) if across else guides[0] + q[:, None, None] * (guides[1] - guides[0])
        curve = CubicSpline(along, control, axis=1)(t)
        ends = CubicSpline(along, control, axis=1)(1.0)
        return (
            curve + (reach[:, None, None] - 1) * (t[:, None] ** 2) * (ends - curve[:, 12])[:, None]
        )

    q = rng.uniform(0, 1, count)
    lines = strands(q, rng.uniform(0.8, 1.12, count))
    stray = rng.normal(0, spread, (count, 1, 2)) * t[:, None] ** 1.5
    lines = lines + stray + rng.normal(0, 0.15 * spread, (count, 1, 2))
    if wave:
        phase = (
            2 * np.pi * (2.3 * t + 0.9 * np.sin(5 * q)[:, None] + rng.normal(0, 0.06, (count, 1)))
        )
        lines[..., 0] += wave * np.sin(phase) * smoothstep(0.25, 0.6, t)
    border = strands(np.linspace(0, 1, 24), np.ones(24) * 0.96)
    polygon = np.concatenate([border[0], border[1:-1, -1], border[-1, ::-1], border[1:-1, 0][::-1]])
    return lines, polygon


def _top(angle: np.ndarray, grow: float = 1.0) -> np.ndarray:
    """Computes points on the skull at degrees from its crown, pushed out by `grow`."""
    turn = np.deg2rad(angle)
    return np.stack(
        [0.985 * grow * np.sin(turn), TEMPLE - (TEMPLE - CROWN) * grow * np.cos(turn)], -1
    )


def _hairline(identity: Identity) -> np.ndarray:
    """Computes the roots along the forehead between the sideburns, (11, 2)."""
    top = identity.hairline
    points = [
        (0.0, top), (0.3, top + 0.005), (0.56, top + 0.06 * identity.male + 0.06),
        (0.75, -0.66), (0.85, -0.38), (0.945, 0.0),
    ]  # fmt: skip
    right = np.array(points)
    return np.concatenate([right[:0:-1] * [-1, 1], right])


def _mirror(points: np.ndarray) -> np.ndarray:
    return np.asarray(points, float) * [-1, 1]


def _short(identity: Identity, rng: np.random.Generator) -> list:
    """Roots along the hairline, tips around the skull."""
    roots = _hairline(identity)
    lift, lean = (1.12, 0.0) if identity.hair == "crop" else (1.2, 0.22 * np.sign(identity.parting))
    angles = np.linspace(-97, 97, len(roots))
    height = 1.035 + (lift - 1.035) * np.cos(np.deg2rad(angles)).clip(0) ** 0.7
    tips = np.stack([_top(a, g) for a, g in zip(angles, height, strict=True)])
    middle = 0.45 * roots + 0.55 * tips + np.array([0.03, -0.02])
    middle[:, 0] += lean * np.cos(np.deg2rad(angles)).clip(0) * 0.6
    tips[:, 0] += lean * np.cos(np.deg2rad(angles)).clip(0) * 0.5
    rise = roots + (middle - roots) * 0.35 + np.array([0, 0.02])
    guides = np.stack([roots, rise, middle, tips], 1)
    return [_comb(guides, 900, rng, 0.05 if identity.hair == "crop" else 0.08)]


def _parted(identity: Identity, rng: np.random.Generator) -> list:
    """A parting; strands fall to both sides, short, to the chin or over the shoulders."""
    style, x = identity.hair, abs(identity.parting)
    x = {"side": x, "wavy": x, "long": 0.12 * x, "bob": 0.5 * x}[style]
    front, back = (x, identity.hairline), (0.8 * x, -1.8)
    if style == "side":
        big = [
            [front, (x - 0.4, -1.16), (-0.5, -1.02), (-0.84, -0.62), (-0.95, -0.08)],
            [(0.9 * x, -1.45), (-0.2, -1.6), (-0.7, -1.3), (-1.0, -0.75), (-1.02, -0.12)],
            [back, (-0.2, -1.9), (-0.82, -1.58), (-1.07, -0.85), (-1.05, -0.2)],
        ]
        small = [
            [front, (x + 0.16, -0.99), (0.74, -0.72), (0.87, -0.4), (0.96, -0.02)],
            [back, (0.62, -1.7), (0.98, -1.25), (1.06, -0.75), (1.05, -0.15)],
        ]
        return [_comb(np.array(big), 700, rng, 0.03), _comb(np.array(small), 350, rng, 0.02)]
    end, out = (1.05, 1.22) if style == "bob" else (rng.uniform(1.7, 2.25), 1.4)
    turn = 0.12 if style == "bob" else -0.05
    locks = []
    for side in (-1, 1):
        inner = [
            front, (0.5 * side + 0.4 * x, -0.97), (0.87 * side, -0.5), (0.97 * side, 0.1),
            ((0.98 - 0.3 * turn) * side, 0.55 * end + 0.1), ((0.98 - turn) * side, end),
        ]  # fmt: skip
        outer = [
            back, (0.6 * side + 0.2 * x, -1.66), (1.1 * side, -1.05), (out * 0.97 * side, -0.1),
            (out * side, 0.5 * end), ((out - turn) * side, end + 0.05),
        ]  # fmt: skip
        guides = np.array([inner, outer])
        locks.append(_comb(guides, 520, rng, 0.035, 0.055 if style == "wavy" else 0.0))
    if style == "bob":
        roots = np.linspace(-0.8, 0.8, 7)
        fringe = [
            [
                (0.35 * r, -1.62),
                (0.75 * r, -1.32),
                (0.92 * r, -0.9),
                (0.98 * r, -0.47 - 0.06 * r**2),
            ]
            for r in roots
        ]
        locks.append(_comb(np.array(fringe), 420, rng, 0.025))
    return locks


def _tied(identity: Identity, rng: np.random.Generator) -> list:
    """Combed back from the hairline to a knot."""
    roots = _hairline(identity)
    angles = np.linspace(-98, 98, len(roots))
    swept = [np.stack([_top(a * q, 1.03) for a in angles]) for q in (0.88, 0.5)]
    knot = np.array([0.0, CROWN - 0.02])
    near = 0.55 * roots + 0.45 * swept[0]
    far = 0.25 * roots + 0.75 * swept[1]
    guides = np.stack([roots, near, far, 0.85 * knot + 0.15 * swept[1]], 1)
    return [_comb(guides, 900, rng, 0.012)]


def _curls(identity: Identity, canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """Samples small rings over and around the skull, (n, 9, 2)."""
    grow = 1.16 + 0.14 * (1 - identity.male)
    centres = rng.uniform((-1.5, -2.1), (1.5, 0.35), (5200, 2))
    radius = np.hypot(centres[:, 0] / (grow * 1.02), (centres[:, 1] + 0.42) / (grow * 1.26))
    hairline = _hairline(identity)
    limit = np.interp(centres[:, 0], hairline[:, 0], hairline[:, 1], left=0.35, right=0.35)
    keep = (radius + rng.normal(0, 0.02, len(radius)) < 1) & (
        centres[:, 1] < limit - 0.02 + rng.normal(0, 0.03, len(radius))
    )
    centres = centres[keep]
    turn = rng.uniform(0, 2 * np.pi, (len(centres), 1)) + np.linspace(0, 4.6, 9)
    size = rng.uniform(0.025, 0.06, (len(centres), 1))
    ring = np.stack([size * np.cos(turn), size * np.sin(turn)], -1)
    return centres[:, None] + ring


def _cap(identity: Identity) -> np.ndarray:
    """Computes the outline of the hairy part of the skull, (n, 2)."""
    return np.concatenate([_hairline(identity), _top(np.linspace(98, -98, 60), 1.01)])


def _buzz(identity: Identity, canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """Paints stubble on the skull: coverage (height, width)."""
    return canvas.fill(_cap(identity), 0.03) * np.clip(
        0.82 + 0.1 * canvas.noise(rng, 0.02), 0, 0.95
    )


def _finish(
    identity: Identity, canvas: Canvas, tone: np.ndarray, cover: np.ndarray, depth: float
) -> np.ndarray:
    """Computes the colour of the strands, (height, width, 3)."""
    x, y = canvas.x, canvas.y
    ball = np.sqrt(np.clip(1.1 - (x / 1.75) ** 2 - (np.minimum(y + 0.4, 0) / 2.1) ** 2, 0.04, None))
    relief = (0.9 * ball + 0.05 * canvas.blur(cover, 0.06)).astype(np.float32)
    light, _ = shade_surface(relief, canvas.scale, identity.light)
    band = np.exp(-0.5 * ((y + 1.28 - 0.28 * x**2) / 0.13) ** 2)
    band = band + 0.5 * np.exp(-0.5 * ((y - 0.6) / 0.25) ** 2)
    shine = (0.16 + 0.5 * identity.hair_colour.mean()) * band * tone**3
    image = identity.hair_colour * (0.18 + 1.25 * tone**1.5)[..., None] * light
    return np.clip(image + shine[..., None] * identity.light.key * 0.8, 0, 1) * depth


def paint_hair(
    identity: Identity, canvas: Canvas, rng: np.random.Generator
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Paints the hair in front of the head and behind the head, as colour and coverage."""
    nothing = np.zeros((canvas.height, canvas.width), np.float32)
    black = np.zeros((canvas.height, canvas.width, 3), np.float32)
    style = identity.hair
    if style == "bald":
        return (black, nothing), (black, nothing)
    if style == "buzz":
        cover = _buzz(identity, canvas, rng) * 0.86
        tone = np.clip(0.35 + 0.06 * canvas.noise(rng, 0.02), 0.1, 0.6)
        return (_finish(identity, canvas, tone, cover, 0.9), cover), (black, nothing)
    base = nothing
    if style == "curly":
        strands = _curls(identity, canvas, rng)
        base = canvas.blur(
            np.clip(canvas.strokes(strands, 0.05, np.ones(len(strands))), 0, 1), 0.012
        )
        base = smoothstep(0.2, 0.8, base)
    else:
        make = {"crop": _short, "quiff": _short, "bun": _tied}.get(style, _parted)
        locks = make(identity, rng)
        if identity.parting < 0:
            locks = [(_mirror(lines), _mirror(polygon)) for lines, polygon in locks]
        strands = np.concatenate([lines for lines, _ in locks])
        for _, polygon in locks:
            base = np.maximum(base, canvas.fill(polygon, 0.012))
        if style == "bun":
            base = np.maximum(base, canvas.fill(_cap(identity), 0.012))
    tones = np.clip(rng.normal(0.58, 0.15, len(strands)), 0.28, 1.0)
    # Strands that lie further out were combed later and catch more light.
    painted = canvas.strokes(strands, 0.011, np.round(tones * 24) / 24)
    painted = 0.6 * painted + 0.4 * canvas.blur(painted, 0.008)
    cover = np.clip(np.maximum(base, smoothstep(0.0, 0.34, painted)), 0, 1)
    tone = np.maximum(painted, 0.26 * base)
    front = _finish(identity, canvas, tone, cover, 1.0), cover
    return front, _back_hair(identity, canvas, rng)


def _back_hair(
    identity: Identity, canvas: Canvas, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paints the hair visible behind the neck or above the head."""
    style = identity.hair
    cover = np.zeros((canvas.height, canvas.width), np.float32)
    tone = cover
    if style in ("long", "wavy", "bob"):
        end, out = (1.0, 1.1) if style == "bob" else (1.9, 1.28)
        points = [(0.9, -1.0), (out, -0.2), (out, 0.8), (out - 0.06, end), (0.0, end + 0.05)]
        right = np.array(points)
        polygon = np.concatenate([right, _mirror(right)[::-1]])
        cover = canvas.fill(polygon, 0.05)
        tone = cover * np.clip(0.3 + 0.07 * canvas.noise(rng, 0.03, 12.0), 0, 1)
        return _finish(identity, canvas, tone, cover, 0.45), cover
    if style == "bun":
        turn = np.linspace(0, 2 * np.pi, 40)
        centre = np.array([0.0, CROWN - 0.2])
        polygon = centre + np.stack([0.42 * np.cos(turn), 0.34 * np.sin(turn)], 1)
        start = rng.uniform(0, 2 * np.pi, (500, 1))
        sweep = start + np.linspace(0, 1.8, 12)
        size = rng.uniform(0.1, 1.02, (500, 1))
        loops = centre + np.stack([0.42 * size * np.cos(sweep), 0.34 * size * np.sin(sweep)], -1)
        painted = canvas.strokes(loops, 0.011, np.clip(rng.normal(0.5, 0.15, 500), 0.2, 1))
        cover = np.maximum(canvas.fill(polygon, 0.015), smoothstep(0, 0.34, painted))
        return _finish(identity, canvas, np.maximum(painted, 0.25 * cover), cover, 0.8), cover
    return np.zeros((canvas.height, canvas.width, 3), np.float32), cover
