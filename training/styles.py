"""Styles: parametrised media that can be drawn on any picture.

`sample_style(seed)` chooses a family and its parameters; the result is called with a picture and a seed that moves
only the random placement of strokes. Lengths in a Style are pixels of a picture 256 pixels wide, and grow with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training import media
from training.natural import Array, Rng, hsv_to_rgb, luminance, smoothstep, to_uint8

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Style:
    """A medium with its palette.

    Call it with an image (height, width, 3) of uint8 and a seed; it returns the image in this style, same shape.
    """

    family: str
    warm: tuple[Colour, ...]  # palette from dark to light for warm colours of the picture
    cool: tuple[Colour, ...]  # and for its cool colours
    recolour: float  # 0: the picture's own colours, 1: the palette alone
    contrast: float
    scale: float  # width of strokes, cells, dots or lines, in pixels at 256
    stretch: float  # length of a stroke over its width; in glass, how far panes bend to the picture's areas
    angle: float  # radians, of lines, screens and light
    amount: float  # 0 to 1: how strongly the medium shows

    def __call__(self, image: Array, seed: int) -> Array:
        rng = np.random.default_rng([seed, 3])
        unit = min(image.shape[:2]) / 256
        return to_uint8(_FAMILIES[self.family](self, self.coloured(image), unit, rng))

    def coloured(self, image: Array) -> Array:
        """The picture (uint8) in this style's colours, float32 in [0, 1], without the medium."""
        picture = image.astype(np.float32) / 255
        light = luminance(picture)
        light = np.clip(0.5 + (light - 0.5) * self.contrast, 0, 1)
        warmth = smoothstep(-0.15, 0.25, picture[..., 0] - picture[..., 2])[..., None]
        mapped = _ramp(self.warm, light) * warmth + _ramp(self.cool, light) * (1 - warmth)
        own = np.clip(0.5 + (picture - 0.5) * self.contrast, 0, 1)
        return own + (mapped - own) * np.float32(self.recolour)

    @property
    def ink(self) -> Array:
        """The darkest colour."""
        return np.array(self.cool[0], np.float32)

    @property
    def paper(self) -> Array:
        """The lightest colour."""
        return np.array(self.warm[-1], np.float32)


def _ramp(colours: tuple[Colour, ...], light: Array) -> Array:
    """The colour at each brightness, by linear interpolation."""
    table = np.array(colours, np.float32)
    stops = np.linspace(0, 1, len(table))
    steps = np.linspace(0, 1, 256)
    fine = np.stack([np.interp(steps, stops, table[:, channel]) for channel in range(3)], -1).astype(np.float32)
    return fine[(light * 255).astype(np.uint8)]


Medium = Callable[[Style, Array, float, Rng], Array]
_FAMILIES: dict[str, Medium] = {
    "oil": media.oil,
    "watercolour": media.watercolour,
    "ink": media.ink,
    "halftone": media.halftone,
    "stipple": media.stipple,
    "mosaic": media.mosaic,
    "glass": media.glass,
    "woodcut": media.woodcut,
    "pastel": media.pastel,
    "impasto": media.impasto,
    "pointillism": media.pointillism,
    "poster": media.poster,
    "palette": lambda style, image, unit, rng: image,
}
FAMILIES: tuple[str, ...] = tuple(_FAMILIES)

# Range of `scale` (pixels at 256) for each family.
_SCALES: dict[str, tuple[float, float]] = {
    "oil": (7, 13), "watercolour": (8, 8), "ink": (5, 8), "halftone": (5, 9), "stipple": (5, 7.5), "mosaic": (7, 14),
    "glass": (18, 34), "woodcut": (5.5, 9), "pastel": (6, 11), "impasto": (8, 15), "pointillism": (5, 8.5),
    "poster": (8, 8), "palette": (8, 8),
}  # fmt: skip
_TWO_TONE = ("ink", "stipple", "woodcut")


def _palette(rng: Rng, hues: Array, vivid: float) -> tuple[Colour, ...]:
    """Four to six colours from dark to light, wandering through the hues given."""
    count = int(rng.integers(4, 7))
    step = np.linspace(0, 1, count)
    value = 0.1 + 0.87 * step ** rng.uniform(0.7, 1.1)
    saturation = np.clip(vivid * (1.25 - step * 0.95) * rng.uniform(0.7, 1.2, count), 0, 1)
    saturation[-1] *= 0.45
    hue = np.interp(step, np.linspace(0, 1, len(hues)), hues) + rng.normal(0, 0.03, count)
    return tuple((float(r), float(g), float(b)) for r, g, b in hsv_to_rgb(hue, saturation, value))


def sample_style(seed: int, family: str | None = None) -> Style:
    """A style by seed: of the given family (one of FAMILIES), or of any."""
    rng = np.random.default_rng([seed, 4])
    drawn = FAMILIES[rng.integers(len(FAMILIES))]
    family = drawn if family is None else family
    vivid = float(rng.beta(3, 1.6))
    first = rng.random()
    harmony = rng.choice([0.06, 0.15, 0.33, 0.42, 0.5])
    warm_hues = first + np.cumsum([0, *rng.uniform(-1, 1, 2)]) * 0.13
    cool_hues = first + harmony + np.cumsum([0, *rng.uniform(-1, 1, 2)]) * 0.13
    recolour = float(rng.choice([0.0, rng.uniform(0.4, 0.9), 1.0], p=[0.15, 0.45, 0.4]))
    low, high = _SCALES[family]
    amount = float(rng.random())
    if family in _TWO_TONE and rng.random() < 0.5:
        vivid *= 0.35
    return Style(
        family=family,
        warm=_palette(rng, warm_hues, vivid),
        cool=_palette(rng, cool_hues, vivid),
        recolour=1.0 if family == "palette" else recolour,
        contrast=float(rng.uniform(0.9, 1.35)),
        scale=float(rng.uniform(low, high)),
        stretch=float(rng.uniform(2.0, 4.5)),
        angle=float(rng.uniform(0, np.pi)),
        amount=amount,
    )
