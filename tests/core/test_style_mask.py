"""Which part of a style picture is looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from magicstyle_core import FusionSettings, InversionSettings, SettingsError, StyleEngine
from magicstyle_core.__main__ import main
from magicstyle_core.bank import Inversion
from magicstyle_core.hooks import Fusing, Layer, fuse, grid
from magicstyle_core.lens import look
from magicstyle_core.metadata import read_png
from magicstyle_core.palette import palette_shift, positions, smoothed
from magicstyle_core.plan import plan
from tests.core.test_lens import halves

STEPS = InversionSettings(steps=4, size=128)
LEFT = Image.new("L", (128, 128))
LEFT.paste(255, (0, 0, 64, 128))


@pytest.fixture
def pair(engine: StyleEngine) -> tuple[Inversion, Inversion]:
    content = engine.invert(halves("noise", "noise"), STEPS, session="style-mask")
    return content, engine.invert(halves("blue", "noise"), STEPS, session="style-mask")


@pytest.mark.parametrize("fusion", ["blend", "joint"])
@pytest.mark.parametrize(("strength", "neighbours"), [(1.0, 0.0), (0.5, 0.0), (0.5, 0.3), (0.5, 1.0)])
def test_masked_tokens_get_no_attention_at_all(
    engine: StyleEngine, fusion: str, strength: float, neighbours: float
) -> None:
    layer = next(layer for layer in engine.layers() if layer.group == "fine")
    attn = engine.model.unet.get_submodule(layer.name)
    side = 2**layer.level * 4
    allowed = torch.zeros(side, side, dtype=torch.bool)
    allowed[:, : side // 2] = True
    channels, outputs = attn.to_q.in_features, []
    target, content, style = torch.randn(3, 1, 16, channels, generator=torch.Generator().manual_seed(0))
    kept = grid(layer, allowed).tokens
    assert kept.tolist() == [0, 1, 4, 5, 8, 9, 12, 13]
    how = Fusing(
        torch.full((1, 1, side, side), strength), neighbours=neighbours,
        fusion=fusion, allowed=[allowed],  # type: ignore[arg-type]
    )  # fmt: skip
    for elsewhere in (style, torch.full_like(style, torch.nan)):  # nan times any weight above 0 is nan
        other = elsewhere.clone()
        other[:, kept] = style[:, kept]
        with fuse(engine.model.unet, [layer], {layer.name: content}, [{layer.name: other}], how):
            outputs.append(attn(target))
    assert outputs[0].isfinite().all()
    assert torch.equal(outputs[0], outputs[1])


def test_where_a_coarse_layer_would_see_nothing_the_nearest_token_stays() -> None:
    allowed = torch.zeros(16, 16, dtype=torch.bool)
    allowed[9:11, 4:6] = True
    fine, coarse = (Layer(f"level {level}", "", level, "") for level in (0, 3))
    assert len(grid(fine, allowed).tokens) == 4
    assert grid(coarse, allowed).tokens.tolist() == [2]  # of 2 × 2, the lower left


def test_the_palette_comes_from_the_allowed_part() -> None:
    torch.manual_seed(0)
    latents, style = torch.randn(1, 4, 16, 16), torch.randn(1, 4, 16, 16)
    style[..., 8:] += 5
    allowed = torch.zeros(16, 16, dtype=torch.bool)
    allowed[:, :7] = True
    shifted = latents + palette_shift(latents, style, allowed)
    expected = positions(smoothed(style), allowed).mean(2)
    torch.testing.assert_close(shifted.mean((2, 3)), expected, atol=0.02, rtol=0)
    assert (palette_shift(latents, style) - palette_shift(latents, style, allowed)).mean() > 2


def test_a_mask_changes_the_picture_and_what_is_remembered_of_another_does_not(
    engine: StyleEngine, pair: tuple[Inversion, Inversion]
) -> None:
    content, style = pair
    settings = FusionSettings(layers=("all",))
    whole, left, again = (
        np.asarray(engine.stylize(content, each, settings).image, float)
        for each in (style, replace(style, mask=LEFT), style)
    )
    assert np.array_equal(whole, again)
    blue = [pixels[..., 2].mean() - pixels[..., 0].mean() for pixels in (whole, left)]
    assert blue[1] > blue[0] + 20  # the palette is the blue half's
    (paid,) = look(engine, content, replace(style, mask=LEFT), settings, (0.5, 0.5))
    assert paid[:, 9:].max() == 0
    engine.forget("style-mask")


@pytest.mark.parametrize("palette", ["both", "end", "adain", "off"])
def test_a_white_mask_is_none(engine: StyleEngine, pair: tuple[Inversion, Inversion], palette: str) -> None:
    content, style = pair
    settings = FusionSettings(palette=palette)  # type: ignore[arg-type]
    images = [
        np.asarray(engine.stylize(content, each, settings).image, int)
        for each in (style, replace(style, mask=Image.new("L", (128, 128), "white")))
    ]
    assert abs(images[0] - images[1]).max() <= 1
    engine.forget("style-mask")


def test_an_empty_mask_is_refused(engine: StyleEngine, pair: tuple[Inversion, Inversion]) -> None:
    content, style = pair
    with pytest.raises(SettingsError, match="mask of a style is black everywhere"):
        plan(engine.model, content, replace(style, mask=Image.new("L", (128, 128))), FusionSettings())


def test_a_png_with_a_style_mask_makes_itself_again(
    tmp_path: Path, astronaut: Image.Image, painted: Image.Image, capsys: pytest.CaptureFixture[str]
) -> None:
    astronaut.save(tmp_path / "photo.png")
    painted.save(tmp_path / "style.png")
    LEFT.save(tmp_path / "left.png")
    first, second, bare = (str(tmp_path / name) for name in ("first.png", "second.png", "bare.png"))
    pictures = ["stylize", str(tmp_path / "photo.png"), "--style", str(tmp_path / "style.png")]
    small = ["--steps", "4", "--size", "96"]
    assert main([*pictures, "-o", first, *small, "--style-mask", str(tmp_path / "left.png")]) == 0
    mask = read_png(first).styles[0].mask_image
    assert mask is not None
    assert mask.size == (96, 96)
    assert main([*pictures, "-o", second, "--settings", first]) == 0
    assert Path(first).read_bytes() == Path(second).read_bytes()
    assert main([*pictures, "-o", bare, "--settings", first, "--style-mask", "none"]) == 0
    assert Path(first).read_bytes() != Path(bare).read_bytes()
    assert main([*pictures, "-o", bare, "--style-mask", "none", "none"]) == 1
    assert "expected 1, one for each style" in capsys.readouterr().err
