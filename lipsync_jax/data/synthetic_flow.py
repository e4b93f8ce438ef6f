"""Synthetic image pairs with known optical flow: textured shapes that move over a background.

Every motion is affine; the shapes' motions are relative to the background's (after the "flying
chairs" of Dosovitskiy et al. 2015, with motions as small as those of lips). For training and
evaluating flow networks.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

NUM_OBJECTS = 4
NUM_OCTAVES = 5
MARGIN = 16  # pixels of the textures beyond the images' borders


class FlowPair(NamedTuple):
    """Two images and the optical flow between them.

    Attributes:
        first: float32 (size, size, 3), in [0, 1].
        second: float32 (size, size, 3), in [0, 1].
        flow: float32 (size, size, 2), pixels to the right and down: the motion of the topmost
            shape at every pixel of the first image.
    """

    first: np.ndarray
    second: np.ndarray
    flow: np.ndarray


def sample_flow_pairs(seed: int, count: int, size: int = 64) -> FlowPair:
    """Samples `count` pairs, stacked; pair i depends on the seed and i only."""
    examples = [sample_flow_pair(np.random.default_rng((seed, i)), size) for i in range(count)]
    return FlowPair(*(np.stack(field) for field in zip(*examples, strict=True)))


@dataclasses.dataclass(frozen=True)
class SyntheticFlowExample:
    """A record of `SyntheticFlowSource`.

    Attributes:
        clip_id: its number, for messages.
        seed: of `sample_flow_pair`; None for another pair each time.
    """

    clip_id: str
    seed: tuple[int, int] | None

    def rng(self) -> np.random.Generator:
        """Returns the random generator of the pair."""
        return np.random.default_rng(self.seed)


@dataclasses.dataclass(frozen=True)
class SyntheticFlowSource:
    """A data source of pairs that are sampled on demand, in place of a data set's clips.

    Attributes:
        count: number of pairs.
        seed: see `sample_flow_pairs`, which gives the same pairs; None for new ones each time.
    """

    count: int
    seed: int | None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> SyntheticFlowExample:
        if not 0 <= index < self.count:
            raise IndexError(f"there are {self.count} pairs, none has the number {index}")
        seed = None if self.seed is None else (self.seed, index)
        return SyntheticFlowExample(f"pair {index}", seed)


def sample_flow_pair(rng: np.random.Generator, size: int = 64) -> FlowPair:
    """Samples a pair.

    Args:
        rng: random generator.
        size: side of the images, pixels.
    """
    grid = np.stack(np.meshgrid(*[np.arange(size, dtype=float)] * 2), axis=-1)
    background_motion = _affine(rng, size, 0.025, (0.015, 0.03), 0.0, 0.6)
    texture = _texture(rng, size)
    first, second = texture(grid), texture(_apply(np.linalg.inv(background_motion), grid))
    flow = _apply(background_motion, grid) - grid
    for _ in range(NUM_OBJECTS):
        object_motion = _affine(rng, size, 0.05, (0.03, 0.06), 0.03, 1.2)
        motion = object_motion @ background_motion
        texture, inside = _texture(rng, size), _shape(rng, size)
        source_points = _apply(np.linalg.inv(motion), grid)
        first = _composite(first, texture(grid), inside(grid))
        second = _composite(second, texture(source_points), inside(source_points))
        covered = inside(grid) > 0.5
        flow[covered] = (_apply(motion, grid) - grid)[covered]
    gain, offset = 1 + 0.05 * _clipped(rng), 0.03 * _clipped(rng)
    images = [first, gain * second + offset]
    images = [np.clip(x + rng.normal(0, 0.01, x.shape), 0, 1) for x in images]
    return FlowPair(*(x.astype(np.float32) for x in (*images, flow)))


@functools.cache
def stored_flow_pair(seed: tuple[int, int], size: int = 64) -> FlowPair:
    """Samples a pair once and keeps it: images as uint8, the flow as float16."""
    pair = sample_flow_pair(np.random.default_rng(seed), size)
    first, second = (np.rint(255 * x).astype(np.uint8) for x in (pair.first, pair.second))
    return FlowPair(first, second, pair.flow.astype(np.float16))


def augment_flow_pair(pair: FlowPair, rng: np.random.Generator) -> FlowPair:
    """Mirrors and transposes a pair at random, and permutes its colours.

    Args:
        pair: images of equal sides, float32 or uint8; the flow.
        rng: of the choices.

    Returns:
        float32, images in [0, 1].
    """
    colours = rng.permutation(3)
    first, second = (
        (x / np.float32(255) if x.dtype == np.uint8 else x)[..., colours] for x in pair[:2]
    )
    flow: np.ndarray = pair.flow.astype(np.float32)
    for axis, component in ((1, 0), (0, 1)):
        if rng.random() < 0.5:
            first, second, flow = (np.flip(x, axis) for x in (first, second, flow))
            flow = flow * np.where(np.arange(2) == component, np.float32(-1), np.float32(1))
    if rng.random() < 0.5:
        first, second, flow = (x.swapaxes(0, 1) for x in (first, second, flow[..., ::-1]))
    return FlowPair(*map(np.ascontiguousarray, (first, second, flow)))


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
    """Samples a (3, 3) matrix about the centre from standard deviations; `scale` has those of both
    axes together and of each axis."""
    angle = rotation * _clipped(rng)
    factors = np.exp(scale[0] * _clipped(rng) + scale[1] * _clipped(rng, 2) * 0.5)
    rotation_matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = rotation_matrix @ np.array([[1, shear * _clipped(rng)], [0, 1]]) @ np.diag(factors)
    centre = np.full(2, (size - 1) / 2)
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = centre - linear @ centre + shift * _clipped(rng, 2)
    return matrix


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def _texture(rng: np.random.Generator, size: int) -> Callable[[np.ndarray], np.ndarray]:
    """Returns points (h, w, 2) -> colours (h, w, 3): noise of several octaves, mirrored outside."""
    side = size + 2 * MARGIN
    image: np.ndarray = np.zeros((side, side, 3), np.float32)
    for octave in range(NUM_OCTAVES):
        cells = min(side, 4 << octave)
        noise: np.ndarray = rng.standard_normal((cells, cells, 3)).astype(np.float32)
        image += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC) / 1.4**octave
    image = 0.5 + 0.4 * np.tanh(image) + rng.uniform(-0.1, 0.1, 3).astype(np.float32)

    def colours(points: np.ndarray) -> np.ndarray:
        x, y = np.moveaxis((points + MARGIN).astype(np.float32), -1, 0)
        return cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)

    return colours


def _shape(rng: np.random.Generator, size: int) -> Callable[[np.ndarray], np.ndarray]:
    """Returns points (h, w, 2) -> coverage (h, w) by a superellipse with a soft edge."""
    radii = rng.uniform(5, 20, 2) * size / 64
    centre, power = rng.uniform(0, size, 2), rng.uniform(1.5, 4)
    angle = rng.uniform(0, np.pi)
    rotation_matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])

    def covered(points: np.ndarray) -> np.ndarray:
        distance = (np.abs((points - centre) @ rotation_matrix.T / radii) ** power).sum(
            axis=-1
        ) ** (1 / power)
        return 1 / (1 + np.exp(np.clip((distance - 1) * 2 * radii.min(), -50, 50)))

    return covered


def _composite(below: np.ndarray, above: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return below + alpha[..., None] * (above - below)
