"""What the shipped weights are for: FFA by itself brings a picture nearer to its style (invariant 3)."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from magicstyle_core import ASSETS, FusionSettings, InversionSettings, StyleEngine
from training import metrics

ALONE = FusionSettings(layers=("all",), palette="off", balance=1.0, detail=0.0)  # but for the layers its preset


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
