from __future__ import annotations

import numpy as np
from PIL import Image

from magicstyle_core import ASSETS
from training.examples import PORTRAITS, STYLES, cut_portrait, draw_style


def test_there_are_sixteen_styles() -> None:
    assert len(STYLES) == 16
    drawn = [draw_style(name, 64) for name in STYLES]
    assert all(picture.shape == (64, 64, 3) and picture.std() > 20 for picture in drawn)


def test_the_bundled_portraits_are_those_of_the_packages() -> None:
    assert {path.stem for path in (ASSETS / "examples").glob("portrait_*")} == set(PORTRAITS)
    for name in PORTRAITS:
        wanted = cut_portrait(name)
        with Image.open(ASSETS / "examples" / f"{name}.webp") as image:
            assert image.size == wanted.size
            assert np.abs(np.asarray(image.convert("RGB"), float) - np.asarray(wanted, float)).mean() < 4  # WebP, 90
