"""What motifs are drawn with: colours by name, covers and polygons. Images are float32 (size, size, 3) in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from training.natural import Array


def colour(code: str) -> Array:
    """A colour (3,) in [0, 1] from six hexadecimal digits."""
    return np.array([int(code[place : place + 2], 16) / 255 for place in (0, 2, 4)], np.float32)


def ramp(codes: str, value: Array) -> Array:
    """Colours, given as hexadecimal codes with spaces between, at a value from 0 to 1."""
    table = np.stack([colour(code) for code in codes.split()])
    stops = np.linspace(0, 1, len(table))
    return np.stack([np.interp(value, stops, table[:, channel]) for channel in range(3)], -1).astype(np.float32)


def over(image: Array, paint: Array, cover: Array) -> Array:
    return image + (paint - image) * cover[..., None]


def mask(size: int, draw: Callable[[ImageDraw.ImageDraw, int], None]) -> Array:
    """What `draw` paints with 255 on a canvas of twice the size, as a cover from 0 to 1."""
    canvas = Image.new("L", (size * 2, size * 2), 0)
    draw(ImageDraw.Draw(canvas), size * 2)
    return np.asarray(canvas.resize((size, size), Image.Resampling.BOX), np.float32) / 255


def polygon(size: int, xs: Array, ys: Array) -> Array:
    """Cover of a polygon with corners in parts of the size."""
    return mask(size, lambda draw, full: draw.polygon((np.stack([xs, ys], -1) * full).ravel().tolist(), fill=255))
