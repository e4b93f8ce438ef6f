"""Pairs of pictures whose optical flow is known: textured shapes that move over a background.

Every motion is affine; shapes ride on the background's (after the "flying chairs" of Dosovitskiy et
al. 2015, with motions as small as those of lips). For training and judging what estimates flow.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

OBJECTS = 4
OCTAVES = 5
MARGIN = 16  # pixels of the textures beyond the pictures' borders


class Pair(NamedTuple):
    """Two pictures and what happened between them.

    Attributes:
        first: float32 (size, size, 3), in [0, 1].
        second: of the same kind.
        flow: float32 (size, size, 2), pixels to the right and down: where the top shape of every
            pixel of the first picture went.
    """

    first: np.ndarray
    second: np.ndarray
    flow: np.ndarray


def pairs(seed: int, count: int, size: int = 64) -> Pair:
    """`count` pairs, stacked; each is the same for the same seed and place."""
    made = [flow_pair(np.random.default_rng((seed, i)), size) for i in range(count)]
    return Pair(*(np.stack(part) for part in zip(*made, strict=True)))


@dataclasses.dataclass(frozen=True)
class Draw:
    """One of `Draws`.

    Attributes:
        clip_id: its number, for messages.
        seed: of `flow_pair`; None if it is new each time.
    """

    clip_id: str
    seed: tuple[int, int] | None

    def rng(self) -> np.random.Generator:
        """The source of a pair that is always the same."""
        return np.random.default_rng(self.seed)


@dataclasses.dataclass(frozen=True)
class Draws:
    """Pairs that are drawn when they are needed, in the place of a data set's clips.

    Attributes:
        count: how many there are.
        seed: see `pairs`, whose pairs they are; None for new ones each time.
    """

    count: int
    seed: int | None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Draw:
        if not 0 <= index < self.count:
            raise IndexError(f"there are {self.count} pairs, none has the number {index}")
        seed = None if self.seed is None else (self.seed, index)
        return Draw(f"pair {index}", seed)


def flow_pair(rng: np.random.Generator, size: int = 64) -> Pair:
    """Draws a pair.

    Args:
        rng: source of all that is random.
        size: side of the pictures.
    """
    grid = np.stack(np.meshgrid(*[np.arange(size, dtype=float)] * 2), axis=-1)
    ground = _affine(rng, size, 0.025, (0.015, 0.03), 0.0, 0.6)
    texture = _texture(rng, size)
    first, second = texture(grid), texture(_apply(np.linalg.inv(ground), grid))
    flow = _apply(ground, grid) - grid
    for _ in range(OBJECTS):
        own = _affine(rng, size, 0.05, (0.03, 0.06), 0.03, 1.2)
        motion = own @ ground
        texture, inside = _texture(rng, size), _shape(rng, size)
        before = _apply(np.linalg.inv(motion), grid)
        first = _cover(first, texture(grid), inside(grid))
        second = _cover(second, texture(before), inside(before))
        over = inside(grid) > 0.5
        flow[over] = (_apply(motion, grid) - grid)[over]
    gain, offset = 1 + 0.05 * _clipped(rng), 0.03 * _clipped(rng)
    pictures = [first, gain * second + offset]
    pictures = [np.clip(x + rng.normal(0, 0.01, x.shape), 0, 1) for x in pictures]
    return Pair(*(x.astype(np.float32) for x in (*pictures, flow)))


def _clipped(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.clip(rng.standard_normal(shape), -3, 3)


def _affine(
    rng: np.random.Generator,
    size: int,
    rotation: float,
    scale: tuple[float, float],
    shear: float,
    shift: float,
) -> np.ndarray:
    """(3, 3), about the middle; numbers are deviations, `scale` those of both axes and of each."""
    angle = rotation * _clipped(rng)
    factors = np.exp(scale[0] * _clipped(rng) + scale[1] * _clipped(rng, 2) * 0.5)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.array([[1, shear * _clipped(rng)], [0, 1]]) @ np.diag(factors)
    middle = np.full(2, (size - 1) / 2)
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = middle - linear @ middle + shift * _clipped(rng, 2)
    return matrix


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def _texture(rng: np.random.Generator, size: int) -> Callable[[np.ndarray], np.ndarray]:
    """Points (h, w, 2) -> colours (h, w, 3): noise of several octaves, continued by mirroring."""
    side = size + 2 * MARGIN
    picture: np.ndarray = np.zeros((side, side, 3), np.float32)
    for octave in range(OCTAVES):
        cells = min(side, 4 << octave)
        noise: np.ndarray = rng.standard_normal((cells, cells, 3)).astype(np.float32)
        picture += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC) / 1.4**octave
    picture = 0.5 + 0.4 * np.tanh(picture) + rng.uniform(-0.1, 0.1, 3).astype(np.float32)

    def colours(points: np.ndarray) -> np.ndarray:
        x, y = np.moveaxis((points + MARGIN).astype(np.float32), -1, 0)
        return cv2.remap(picture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)

    return colours


def _shape(rng: np.random.Generator, size: int) -> Callable[[np.ndarray], np.ndarray]:
    """Points (h, w, 2) -> how much of each a super-ellipse covers (h, w), soft at its edge."""
    radii = rng.uniform(5, 20, 2) * size / 64
    middle, power = rng.uniform(0, size, 2), rng.uniform(1.5, 4)
    angle = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])

    def covered(points: np.ndarray) -> np.ndarray:
        distance = (np.abs((points - middle) @ turn.T / radii) ** power).sum(axis=-1) ** (1 / power)
        return 1 / (1 + np.exp(np.clip((distance - 1) * 2 * radii.min(), -50, 50)))

    return covered


def _cover(below: np.ndarray, above: np.ndarray, share: np.ndarray) -> np.ndarray:
    return below + share[..., None] * (above - below)
