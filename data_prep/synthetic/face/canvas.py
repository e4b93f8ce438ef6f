"""A drawing plane in head units and its drawing operations.

Head units: x right and y down from between the eyes, 1 = half the width of the face. Colours are
BGR in linear light, taken as the square of display values (a gamma of 2, so that the way back is
one square root).
"""

import dataclasses
import functools

import cv2
import numpy as np


@dataclasses.dataclass(frozen=True)
class Canvas:
    """A grid of pixels over a rectangle of head units.

    Attributes:
        left: x of the left edge, head units.
        top: y of the upper edge.
        scale: pixels a head unit.
        width: columns.
        height: rows.
    """

    left: float
    top: float
    scale: float
    width: int
    height: int

    @classmethod
    def over(cls, box: tuple[float, float, float, float], scale: float) -> "Canvas":
        """Returns the canvas that covers (left, top, right, bottom)."""
        left, top, right, bottom = box
        return cls(left, top, scale, round((right - left) * scale), round((bottom - top) * scale))

    @functools.cached_property
    def x(self) -> np.ndarray:
        """Returns the abscissae of the pixel centres, float32 (1, width)."""
        return self.left + (np.arange(self.width, dtype=np.float32)[None] + 0.5) / self.scale

    @functools.cached_property
    def y(self) -> np.ndarray:
        """Returns the ordinates of the pixel centres, float32 (height, 1)."""
        return self.top + (np.arange(self.height, dtype=np.float32)[:, None] + 0.5) / self.scale

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Converts head units to pixels, both (..., 2), float32, centres at integers."""
        corner = np.array([self.left, self.top])
        return ((np.asarray(points) - corner) * self.scale - 0.5).astype(np.float32)

    def window(self, box: tuple[float, float, float, float]) -> tuple[slice, slice]:
        """Returns the rows and columns that cover (left, top, right, bottom)."""
        left, top, right, bottom = box
        rows = (np.array([top, bottom]) - self.top) * self.scale
        columns = (np.array([left, right]) - self.left) * self.scale
        rows = np.clip(np.round(rows), 0, self.height).astype(int).tolist()
        columns = np.clip(np.round(columns), 0, self.width).astype(int).tolist()
        return slice(*rows), slice(*columns)

    def crop(self, window: tuple[slice, slice]) -> "Canvas":
        """Returns the canvas of a window of rows and columns."""
        rows, columns = window
        return Canvas(
            self.left + columns.start / self.scale,
            self.top + rows.start / self.scale,
            self.scale,
            columns.stop - columns.start,
            rows.stop - rows.start,
        )

    def bump(self, x: float, y: float, sigma_x: float, sigma_y: float) -> np.ndarray:
        """Computes a Gaussian of height 1, float32 (height, width)."""
        across = np.exp(-0.5 * ((self.x - x) / sigma_x) ** 2)
        return np.exp(-0.5 * ((self.y - y) / sigma_y) ** 2) * across

    def pair(self, x: float, y: float, sigma_x: float, sigma_y: float) -> np.ndarray:
        """Computes two Gaussians of height 1, at x and -x."""
        return self.bump(x, y, sigma_x, sigma_y) + self.bump(-x, y, sigma_x, sigma_y)

    def blur(self, image: np.ndarray, sigma: float) -> np.ndarray:
        """Blurs by a Gaussian with sigma in head units."""
        return cv2.GaussianBlur(image, (0, 0), max(sigma * self.scale, 0.3))

    def fill(self, polygon: np.ndarray, soft: float = 0.006) -> np.ndarray:
        """Fills a polygon (n, 2): coverage, float32 (height, width) in [0, 1], edges blurred."""
        mask = np.zeros((self.height, self.width), np.uint8)
        corners = np.round(self.pixels(polygon) * 16).astype(np.int32)
        cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, shift=4)
        return self.blur(mask.astype(np.float32) / 255, soft)

    def strokes(self, lines: np.ndarray, thickness: float, values: np.ndarray) -> np.ndarray:
        """Draws polylines, later ones over earlier ones.

        Args:
            lines: (n, points, 2) in head units.
            thickness: head units; at least one pixel is drawn.
            values: (n,) in (0, 1], value of each line, quantised to 1/255.

        Returns:
            float32 (height, width), 0 where nothing was drawn.
        """
        image = np.zeros((self.height, self.width), np.uint8)
        corners = np.round(self.pixels(lines) * 16).astype(np.int32)
        width = max(1, round(thickness * self.scale))
        levels = np.clip(np.round(values * 255), 1, 255).astype(int)
        # One call draws one grey level, so lines are drawn in runs of equal level.
        starts = np.flatnonzero(np.diff(levels, prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(levels)], strict=True):
            cv2.polylines(
                image, [*corners[start:end]], False, int(levels[start]), width, cv2.LINE_AA, shift=4
            )
        return image.astype(np.float32) / 255

    def noise(self, rng: np.random.Generator, size: float, aspect: float = 1.0) -> np.ndarray:
        """Samples smooth noise of unit variance, grains of `size` (`size * aspect` in y)."""
        columns = max(2, round(self.width / self.scale / size) + 2)
        rows = max(2, round(self.height / self.scale / (size * aspect)) + 2)
        grains = rng.normal(size=(rows, columns)).astype(np.float32)
        image = cv2.resize(grains, (self.width, self.height), interpolation=cv2.INTER_CUBIC)
        return image * 1.5  # cubic interpolation reduces the variance


@dataclasses.dataclass(frozen=True)
class Light:
    """A key light and ambient light, BGR linear.

    Attributes:
        direction: unit vector towards the light; x right, y down, z to the viewer.
        key: colour of the light.
        ambient: colour of the surroundings.
    """

    direction: np.ndarray
    key: np.ndarray
    ambient: np.ndarray


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, a cubic in between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def colour(red: float, green: float, blue: float) -> np.ndarray:
    """Converts display RGB in 0 to 255 to linear BGR, float32 (3,)."""
    return (np.array([blue, green, red], np.float32) / 255) ** 2


def mix(a: np.ndarray, b: np.ndarray, t: np.ndarray | float) -> np.ndarray:
    """Interpolates between a (t = 0) and b (t = 1); t may be a mask, a and b colours (..., 3)."""
    t = np.asarray(t, np.float32)
    t = t[..., None] if t.ndim == 2 else t
    return a + (b - a) * t


def shade_surface(relief: np.ndarray, scale: float, light: Light) -> tuple[np.ndarray, np.ndarray]:
    """Shades a surface.

    Args:
        relief: height towards the viewer, head units, float32 (height, width).
        scale: pixels a head unit.
        light: that illuminates the surface.

    Returns:
        diffuse light, BGR (height, width, 3), red reaching furthest into the shade as it does in
        skin, and specular light of one tone, (height, width).
    """
    relief = np.asarray(relief, np.float32)
    slope_x = cv2.Sobel(relief, cv2.CV_32F, 1, 0, scale=scale / 8)
    slope_y = cv2.Sobel(relief, cv2.CV_32F, 0, 1, scale=scale / 8)
    inverse = 1 / np.sqrt(1 + slope_x**2 + slope_y**2)
    x, y, z = light.direction
    facing = (z - x * slope_x - y * slope_y) * inverse
    up = 0.5 + 0.5 * slope_y * inverse  # 1 where the surface faces up
    wrap = np.array([0.12, 0.18, 0.32], np.float32)
    diffuse = np.clip((facing[..., None] + wrap) / (1 + wrap), 0, None) * light.key
    diffuse += (0.55 + 0.45 * up)[..., None] * light.ambient
    half = np.array([x, y, z + 1], np.float32) / np.sqrt(2 + 2 * z)
    shine = np.clip((half[2] - half[0] * slope_x - half[1] * slope_y) * inverse, 0, 1)
    return diffuse, shine
