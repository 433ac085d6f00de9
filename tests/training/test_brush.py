"""What the shipped weights are for: FFA by itself brings a picture nearer to its style (invariant 3)."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from magicstyle_core import ASSETS, FusionSettings, InversionSettings, StyleEngine
from magicstyle_core.pixels import to_tensor
from magicstyle_core.settings import apply_preset
from training import metrics
from training.judge import lattice

ALONE = apply_preset("Attention alone", FusionSettings()).replace(layers=("all",), detail=0.0)


@pytest.mark.parametrize("name", ["waves", "night", "flowers"])
def test_ffa_alone_brings_the_picture_nearer_to_its_style(
    engine: StyleEngine, astronaut: Image.Image, name: str
) -> None:
    size = InversionSettings(size=256)
    with Image.open(ASSETS / f"examples/style_{name}.webp") as image:
        picture = ImageOps.fit(image.convert("RGB"), (256, 256))
    content, style = (engine.invert(image, size, session="brush") for image in (astronaut, picture))
    by_ffa, without = (
        np.asarray(engine.stylize(content, style, ALONE.replace(layers=layers)).image) for layers in (("all",), ())
    )
    wanted = np.asarray(picture)
    assert metrics.style_distance(by_ffa, wanted) < 0.95 * metrics.style_distance(without, wanted)
    assert metrics.content_distance(by_ffa, without) < 0.5  # and it is still that photograph


@pytest.mark.parametrize("name", ["waves", "night", "flowers"])
def test_the_decoder_lays_no_squares_over_a_picture(engine: StyleEngine, astronaut: Image.Image, name: str) -> None:
    """Not over a round trip, and not where FFA has made latents that no encoder gives."""
    size = InversionSettings(size=256)
    with Image.open(ASSETS / f"examples/style_{name}.webp") as picture:
        content, style = (engine.invert(image, size, session="brush") for image in (astronaut, picture))
    photograph = ImageOps.fit(astronaut.convert("RGB"), (256, 256))
    result = engine.stylize(content, style, ALONE).image
    in_photograph, in_trip, in_result = (
        lattice(to_tensor(np.asarray(image.convert("RGB")))).item()
        for image in (photograph, engine.decode(content), result)
    )
    assert in_trip < in_photograph
    assert in_result < in_photograph


def chroma_steps(image: Image.Image) -> float:
    """How much colour changes from pixel to pixel, of 255."""
    chroma = np.asarray(image.convert("YCbCr"))[..., 1:].astype(float)
    return float(np.abs(np.diff(chroma, axis=0)).mean() + np.abs(np.diff(chroma, axis=1)).mean())


@pytest.mark.parametrize("name", ["waves", "night", "flowers"])
def test_colours_do_not_flicker_from_pixel_to_pixel(engine: StyleEngine, astronaut: Image.Image, name: str) -> None:
    size = InversionSettings(size=256)
    with Image.open(ASSETS / f"examples/style_{name}.webp") as picture:
        content, style = (engine.invert(image, size, session="brush") for image in (astronaut, picture))
        own = chroma_steps(ImageOps.fit(picture.convert("RGB"), (256, 256)))
    photograph = chroma_steps(ImageOps.fit(astronaut.convert("RGB"), (256, 256)))
    assert chroma_steps(engine.decode(content)) < 1.2 * photograph
    assert chroma_steps(engine.stylize(content, style, ALONE).image) < 1.2 * max(photograph, own)
