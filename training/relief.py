"""Painting with lit reliefs: a height over the picture gives normals, and the normals give light. Here are the canvas
that colour is laid on, the light, the hills and ridges that reliefs are made of, and the edges and textures that all
parts of a portrait share. Lengths are in head units: half the head's height is 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from training.natural import Array, Rng, fractal

Normals = tuple[Array, Array, Array]


@dataclass
class Canvas:
    """A crop of the picture with its place: x and y in head units around one head, upright with the head."""

    pixels: Array  # (height, width, 3), a view into the picture
    x: Array
    y: Array
    pixel: float  # size of a pixel in head units

    def over(self, colour: Array, cover: Array) -> None:
        """Paint a colour, or a picture of the crop's shape, where cover is 1."""
        self.pixels += (colour - self.pixels) * cover[..., None]

    def darken(self, amount: Array) -> None:
        self.pixels *= (1 - amount)[..., None]

    def within(self, width: float, top: float, bottom: float) -> Canvas:
        """The smallest part of this canvas that holds all pixels with |x| < width and top < y < bottom."""
        seen = (np.abs(self.x) < width) & (self.y > top) & (self.y < bottom)
        rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        return Canvas(self.pixels[window], self.x[window], self.y[window], self.pixel)


@dataclass
class Light:
    direction: Array  # (3,): x to the right, y down, z towards the viewer; unit length
    key: Array  # colour of the main light
    fill: Array  # colour of the light from everywhere

    def shade(self, normal: Normals, wrap: Array | float = 0.0) -> Array:
        """Light (height, width, 3) that a matt surface with these normals sends on."""
        facing = normal[0] * self.direction[0] + normal[1] * self.direction[1] + normal[2] * self.direction[2]
        wrap = np.asarray(wrap, np.float32)
        lit = np.maximum((facing[..., None] + wrap) / (1 + wrap), 0)
        return lit * self.key + (0.75 - 0.25 * normal[1])[..., None] * self.fill

    def shine(self, normal: Normals, hardness: float) -> Array:
        """Light (height, width) that a polished surface reflects to the viewer."""
        half = self.direction + np.array([0, 0, 1], np.float32)
        half = half / np.linalg.norm(half)
        return np.maximum(normal[0] * half[0] + normal[1] * half[1] + normal[2] * half[2], 0) ** hardness

    @property
    def brightness(self) -> float:
        """Light on a surface that faces the viewer."""
        return float(self.key.mean() * 0.62 + self.fill.mean() * 0.75)


def bump(u: Array, v: Array, at: tuple[float, float], spread: tuple[float, float]) -> Array:
    """A round hill of height 1."""
    return np.exp(-(((u - at[0]) / spread[0]) ** 2) - ((v - at[1]) / spread[1]) ** 2)


def ridge(away: Array, breadth: float) -> Array:
    """A long hill of height 1, along the line where `away` is 0."""
    return np.exp(-((away / breadth) ** 2))


def normals(height: Array, pixel: float) -> Normals:
    gy, gx = np.gradient(height, pixel)
    length = np.sqrt(gx * gx + gy * gy + 1)
    return -gx / length, -gy / length, 1 / length


def inside(value: Array, soft: float) -> Array:
    """1 where value is positive, 0 where negative, with an edge `soft` wide."""
    return np.clip(value / soft + 0.5, 0, 1)


def sample(noise: Array, rows: Array, columns: Array) -> Array:
    """A periodic noise field looked up at fractional places."""
    return ndimage.map_coordinates(noise, [rows, columns], order=1, mode="grid-wrap")


def strands(rng: Rng, along: Array, across: Array) -> Array:
    """Hair texture of mean 0: long in `along`, fine in `across`, both in head units."""
    noise = fractal(rng, 256, 0.5, 4.0, math.pi / 2)
    locks = fractal(rng, 256, 1.1, 4.0, math.pi / 2)
    return 0.7 * sample(noise, along * 9, across * 170) + 0.6 * sample(locks, along * 11, across * 80)
