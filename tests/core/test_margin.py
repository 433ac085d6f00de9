from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from magicstyle_core import FusionSettings, InversionSettings, StyleEngine
from magicstyle_core.margin import with_margin, without_margin

RIM, INSIDE = 6, 16  # pixels from the edge


def test_a_margin_repeats_the_rim_mirrored_and_comes_off_again() -> None:
    maps = torch.arange(12.0).view(1, 1, 3, 4)
    wide = with_margin(maps, 2)
    assert wide[0, 0, 2].tolist() == [1, 0, 0, 1, 2, 3, 3, 2]
    assert wide[0, 0, :, 2].tolist() == [4, 0, 0, 4, 8, 8, 4]
    assert torch.equal(without_margin(wide, 2), maps)
    assert torch.equal(with_margin(maps, 0), maps)
    assert torch.equal(without_margin(maps, 0), maps)


def frame(engine: StyleEngine, content: Image.Image, style: Image.Image) -> float:
    """By how much the rim of a render differs from what lies beside it, in levels of 255."""
    settings = InversionSettings(steps=8)
    pair = [engine.invert(picture, settings, session="margin") for picture in (content, style)]
    image = engine.stylize(*pair, FusionSettings(texture=0, detail=0)).image
    engine.forget("margin")
    picture = np.asarray(image, float)
    height, width = picture.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    depth = np.minimum.reduce([rows, columns, height - 1 - rows, width - 1 - columns])
    beside = (depth >= INSIDE) & (depth < INSIDE + RIM)
    return float(np.abs(picture[depth < RIM].mean(0) - picture[beside].mean(0)).mean())


def test_a_plain_background_gets_no_frame(engine: StyleEngine, painted: Image.Image) -> None:
    height = np.linspace(0, 1, 256)[:, None, None]
    dusk, horizon = np.array([20, 30, 70]), np.array([120, 130, 150])
    sky = Image.fromarray(np.broadcast_to(dusk + height * (horizon - dusk), (256, 256, 3)).astype(np.uint8))
    bare = StyleEngine.load("mini", device="cpu", dtype="fp32")
    bare.backbone.margin = 0
    assert frame(engine, sky, painted) < 0.4 * frame(bare, sky, painted)


def test_the_narrowest_picture_can_have_one(engine: StyleEngine, painted: Image.Image) -> None:
    strip = painted.resize((256, 32))
    content = engine.invert(strip, InversionSettings(steps=2, size=64), session="strip")
    assert engine.stylize(content, content).image.size == engine.decode(content).size == (64, 8)
    engine.forget("strip")
