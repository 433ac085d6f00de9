"""The bundled examples: photographs for trying it out, and sixteen style pictures drawn by this package.

Run `python -m training.examples OUT_DIR` to write them all.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.drawing import colour
from training.landscapes import city, mountains, night, sunrise, waves
from training.natural import Array, Rng, to_uint8
from training.ornaments import flowers, garden, geometry
from training.patterns import drips, embroidery, ferns, forest, fruit, harbour, marbling, shell
from training.styles import Style, sample_style

STYLE_SIZE = 640

# Portraits out of installed packages, none of which is trained on: the package, the file in it, and the square of it
# that is shown (left, upper, right, lower; None = all).
PORTRAITS: dict[str, tuple[str, str, tuple[int, int, int, int] | None]] = {
    "portrait_astronaut": ("skimage", "data/astronaut.png", (40, 0, 424, 384)),
    "portrait_camera": ("skimage", "data/camera.png", (80, 30, 400, 350)),
    "portrait_chelsea": ("skimage", "data/chelsea.png", (75, 0, 375, 300)),
    "portrait_cheetah": ("gradio", "media_assets/images/cheetah1.jpg", None),
    "portrait_lion": ("gradio", "media_assets/images/lion.jpg", None),
}


def _medium(family: str, **changes: Any) -> Style:
    """A medium that keeps the picture's own colours."""
    plain = replace(sample_style(0, family), recolour=0.0, contrast=1.05, stretch=3.0, angle=0.7)
    return replace(plain, **changes)


def _inks(ink: str, paper: str) -> dict[str, Any]:
    """The darkest and the lightest colour, for media that print with one ink."""
    dark, light = (tuple(map(float, colour(code))) for code in (ink, paper))
    return {"warm": (dark, light), "cool": (dark, light)}


PLAIN = _medium("palette", contrast=1.0)  # the motif as it is drawn
Motif = Callable[[Rng, int], Array]
STYLES: dict[str, tuple[Motif, Style]] = {
    "style_night": (night, _medium("impasto", scale=4.6, amount=0.0, stretch=4.5)),
    "style_waves": (waves, _medium("poster", amount=0.3)),
    "style_sunrise": (sunrise, _medium("glass", scale=21.0, amount=0.0, stretch=4.5)),
    "style_flowers": (flowers, _medium("oil", scale=5.0, amount=0.5)),
    "style_city": (city, _medium("pointillism", scale=3.5, amount=0.1)),
    "style_mountains": (mountains, _medium("watercolour", amount=0.3)),
    "style_garden": (garden, _medium("mosaic", scale=4.2, amount=0.4, cool=((0.5, 0.43, 0.34), (0.9, 0.85, 0.7)))),
    "style_geometry": (geometry, _medium("halftone", scale=4.2, amount=0.2)),
    "style_forest": (forest, _medium("woodcut", scale=4.6, amount=0.9, **_inks("14110f", "f3ead6"))),
    "style_harbour": (harbour, _medium("ink", scale=3.6, amount=0.75, **_inks("1c1a24", "fbf6ea"))),
    "style_shell": (shell, _medium("stipple", scale=3.4, amount=0.9, **_inks("3b2012", "f8efdb"))),
    "style_fruit": (fruit, _medium("pastel", scale=5.0, amount=0.5, **_inks("2a2430", "efe4d0"))),
    "style_marbling": (marbling, PLAIN),
    "style_embroidery": (embroidery, PLAIN),
    "style_drips": (drips, PLAIN),
    "style_ferns": (ferns, PLAIN),
}


def draw_style(name: str, size: int = STYLE_SIZE) -> Array:
    """One of the STYLES, uint8 (size, size, 3) RGB. The size must be a multiple of 4."""
    motif, style = STYLES[name]
    return style(to_uint8(motif(np.random.default_rng(7), size)), seed=7)


def cut_portrait(name: str) -> Image.Image:
    """One of the PORTRAITS, in mode "RGB"."""
    package, file, square = PORTRAITS[name]
    (folder,) = importlib.util.find_spec(package).submodule_search_locations  # type: ignore[union-attr, misc]
    with Image.open(Path(folder) / file) as image:
        return image.convert("RGB").crop(square)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the bundled portraits and styles.")
    parser.add_argument("out_dir", type=Path, help="folder for the WebP files")
    out_dir = parser.parse_args().out_dir
    out_dir.mkdir(parents=True, exist_ok=True)
    pictures = {name: cut_portrait(name) for name in PORTRAITS}
    pictures.update({name: Image.fromarray(draw_style(name)) for name in STYLES})
    for name, picture in pictures.items():
        path = out_dir / f"{name}.webp"
        picture.save(path, quality=90, method=6)
        print(path)


if __name__ == "__main__":
    main()
