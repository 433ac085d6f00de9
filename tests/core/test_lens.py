from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from magicstyle_core import FusionSettings, InversionSettings, SettingsError, StyleEngine
from magicstyle_core.lens import lit, look

STEPS = InversionSettings(steps=6, size=128)


def halves(left: str, right: str) -> Image.Image:
    """Noise on one side, plain blue on the other."""
    noise = np.random.default_rng(0).integers(0, 255, (128, 64, 1)) * np.ones(3)
    sides = {"noise": noise, "blue": np.full((128, 64, 3), (20, 40, 160))}
    return Image.fromarray(np.hstack([sides[left], sides[right]]).astype(np.uint8))


@pytest.mark.parametrize(("balance", "neighbours"), [(0.0, 0.0), (1.0, 0.0), (1.0, 0.4)])
def test_a_spot_looks_at_the_half_of_its_kind(engine: StyleEngine, balance: float, neighbours: float) -> None:
    content = engine.invert(halves("noise", "blue"), STEPS, session="lens")
    style = engine.invert(halves("blue", "noise"), STEPS, session="lens")
    settings = FusionSettings(layers=("all",), temperature=2.0, balance=balance, neighbours=neighbours)
    with pytest.raises(SettingsError, match="render it in full first"):
        look(engine, content, style, settings, (0.25, 0.5))
    engine.stylize(content, style, settings)
    calls = engine.model.unet_calls
    for spot, half in (((0.2, 0.5), slice(8, 16)), ((0.8, 0.4), slice(0, 8))):
        (paid,) = look(engine, content, style, settings, spot)
        assert paid.shape == (16, 16)
        assert paid.sum() == pytest.approx(1, abs=1e-4)
        assert paid[:, half].sum() >= 0.8
    assert engine.model.unet_calls == calls + 2
    engine.forget("lens")


def test_two_styles_share_the_attention(engine: StyleEngine) -> None:
    content = engine.invert(halves("noise", "noise"), STEPS, session="lens")
    styles = [
        (engine.invert(halves(kind, kind), STEPS, session="lens"), weight)
        for kind, weight in (("noise", 1.0), ("blue", 1.0))
    ]
    settings = FusionSettings(layers=("all",), temperature=2.0, balance=0.0)  # balanced, both get half of all attention
    engine.stylize(content, styles, settings)
    noise, blue = look(engine, content, styles, settings, (0.5, 0.5), group="middle")
    assert noise.sum() + blue.sum() == pytest.approx(1, abs=1e-4)
    assert noise.sum() > 4 * blue.sum()
    engine.forget("lens")


def test_without_ffa_there_is_nothing_to_look_at(engine: StyleEngine) -> None:
    content = engine.invert(halves("noise", "blue"), STEPS, session="lens")
    with pytest.raises(SettingsError, match="FFA is off"):
        look(engine, content, content, FusionSettings(layers=()), (0.5, 0.5))
    engine.forget("lens")


def test_light_falls_on_what_was_looked_at(engine: StyleEngine) -> None:
    picture = engine.prepare(Image.new("RGB", (128, 128), "white"), 128)
    paid = np.zeros((16, 16), np.float32)
    paid[:, :4] = 1 / 64
    light = np.asarray(lit(picture, paid).convert("L"))
    assert light.shape == (128, 128)
    assert light[:, :16].min() > 240
    assert light[:, 64:].max() < 30
