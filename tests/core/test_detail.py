from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from magicstyle_core import FusionSettings, InversionSettings, StyleEngine
from magicstyle_core.detail import fused_detail, grain_levels, looked_up, with_grain, with_outlines, without_lattice
from magicstyle_core.images import fit, to_tensor
from training import metrics


def lost(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(1, 3, 8 * rows, 8 * columns)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_a_place_finds_the_detail_of_its_like() -> None:
    latents, detail = torch.randn(1, 4, 40, 30), lost(40, 30)
    assert torch.equal(looked_up(detail, latents, latents), detail)
    moved = looked_up(detail, latents.roll((5, 7), (2, 3)) + 0.01, latents)
    assert torch.equal(moved[..., 48:-8, 64:-8], detail.roll((40, 56), (2, 3))[..., 48:-8, 64:-8])


def test_a_style_may_have_another_size() -> None:
    style_latents, style_lost = torch.randn(1, 4, 20, 12), lost(20, 12)
    found = looked_up(style_lost, style_latents[..., 4:14, 2:10], style_latents)
    assert found.shape == (1, 3, 80, 64)
    assert torch.equal(found[..., 8:-8, 8:-8], style_lost[..., 40:104, 24:72])


@pytest.mark.parametrize(
    ("amount", "structure", "share"),
    [
        (0.0, 0.0, 0.0),
        (1.0, 1.0, 0.0),
        (0.5, 0.4, 0.3),
        (1.0, 0.0, 1.0),
    ],
)
def test_the_shares_of_content_and_style(amount: float, structure: float, share: float) -> None:
    latents, own, first, second = torch.randn(1, 4, 6, 6), lost(6, 6), lost(6, 6), lost(6, 6)
    styles = [(latents, first, 0.75), (latents, second, 0.25)]
    expected = (1 - share) * own + share * (0.75 * first + 0.25 * second)
    for detail in (0, 0.5, 1):
        settings = FusionSettings(structure=structure, detail=detail)
        fused = fused_detail(latents, own, styles, settings, amount)
        torch.testing.assert_close(fused, detail * expected)


def test_without_colour_the_style_gives_lightness_alone() -> None:
    latents, own = torch.randn(1, 4, 6, 6), torch.zeros(1, 3, 48, 48)
    fused = fused_detail(latents, own, [(latents, lost(6, 6), 1.0)], FusionSettings(colour=0), 1.0)
    assert fused.abs().max() > 0.1
    assert torch.equal(fused[:, 0], fused[:, 2])


def test_outside_a_mask_the_content_keeps_its_own() -> None:
    latents, own = torch.randn(1, 4, 6, 6), lost(6, 6)
    amount = torch.zeros(1, 1, 48, 48)
    amount[..., :24] = 1
    fused = fused_detail(latents, own, [(latents, lost(6, 6), 1.0)], FusionSettings(structure=0), amount)
    assert torch.equal(fused[..., 24:], own[..., 24:])
    assert not torch.isclose(fused[..., :24], own[..., :24]).any(0).all()


def test_flat_places_take_different_tiles_and_always_the_same() -> None:
    flat, style_latents, style_lost = torch.zeros(1, 4, 12, 12), torch.randn(1, 4, 20, 20), lost(20, 20)
    found = looked_up(style_lost, flat, style_latents)
    tiles = F.pixel_unshuffle(found, 8)[0].flatten(1).T.unique(dim=0)
    assert len(tiles) > 10
    assert torch.equal(found, looked_up(style_lost, flat, style_latents))


def test_a_lattice_goes_and_pictures_stay(astronaut) -> None:
    tile = 0.05 * torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    lattice = (tile - tile.mean((2, 3), keepdim=True)).repeat(1, 1, 12, 12)
    slope = torch.linspace(-0.5, 0.5, 96).expand(1, 3, 96, 96)
    inner = (..., slice(16, -16), slice(16, -16))
    cleaned = without_lattice(slope + lattice, 8, 1.0)
    assert (cleaned - slope)[inner].std() < 0.25 * lattice.std()
    assert torch.equal(without_lattice(slope + lattice, 8, 0.0), slope + lattice)
    photograph = to_tensor(astronaut.resize((256, 256)))
    assert (without_lattice(photograph, 8, 1.0) - photograph).std() < 0.02 * photograph.std()


def grained(seed: int, *deviations: float) -> torch.Tensor:
    """Noise in columns of equal width, each with its own deviation: (1, 3, 96, 96)."""
    noise = torch.randn(1, 1, 96, 96, generator=torch.Generator().manual_seed(seed)).expand(1, 3, 96, 96)
    return noise * torch.tensor(deviations).repeat_interleave(96 // len(deviations))


def test_grain_takes_the_strengths_of_the_style_and_keeps_its_ranks() -> None:
    content, style = grained(0, 0.05, 0.2), grained(1, 0.3, 0.08)
    after = with_grain(content, [(grain_levels(style), 1.0)], 1.0)
    quiet, loud = (half.std().item() for half in after.chunk(2, 3))
    assert quiet == pytest.approx(0.08, rel=0.1)
    assert loud == pytest.approx(0.3, rel=0.1)
    torch.testing.assert_close(grain_levels(after), grain_levels(style), rtol=0.1, atol=0.01)
    half_way = with_grain(content, [(grain_levels(style), 1.0)], 0.5)
    assert half_way[..., :48].std().item() == pytest.approx((0.05 * 0.08) ** 0.5, rel=0.1)


def test_a_picture_has_its_own_grain_already_and_none_grows_beyond_bounds() -> None:
    content = grained(0, 0.05, 0.2)
    torch.testing.assert_close(with_grain(content, [(grain_levels(content), 1.0)], 1.0), content, atol=0.01, rtol=0)
    strong = grained(1, 0.9)
    assert with_grain(content, [(grain_levels(strong), 1.0)], 1.0).std() <= 2.01 * content.std()


def test_grain_stays_where_none_is_asked_for() -> None:
    content, style = grained(0, 0.05, 0.2), grained(1, 0.3, 0.08)
    amount = torch.zeros(1, 1, 96, 96)
    amount[..., 48:] = 1
    after = with_grain(content, [(grain_levels(style), 1.0)], amount)
    assert torch.equal(after[..., :48], content[..., :48])
    assert (after[..., 48:] - content[..., 48:]).abs().mean() > 0.01


def test_the_stronger_of_photograph_and_render_wins() -> None:
    photograph, render = grained(0, 0.3, 0.05), grained(1, 0.05, 0.3)
    after = with_outlines(render, photograph, 1.0)
    outlines, texture = (..., slice(8, 40)), (..., slice(56, 88))
    assert (after - photograph)[outlines].std() < 0.2 * (render - photograph)[outlines].std()
    assert (after - render)[texture].std() < 0.05 * (render - photograph)[texture].std()
    assert torch.equal(with_outlines(render, photograph, 0.0), render)
    torch.testing.assert_close(with_outlines(photograph, photograph, 1.0), photograph)


def test_outlines_come_back_in_the_colours_of_the_render() -> None:
    photograph, render = grained(0, 0.3), 0.05 * torch.randn(1, 3, 96, 96)
    change = with_outlines(render, photograph, 1.0) - render
    assert change.std() > 0.2
    torch.testing.assert_close(change[:, 0], change[:, 2])


def test_a_quiet_style_leaves_outlines(engine: StyleEngine, astronaut) -> None:
    settings = InversionSettings(steps=8)
    paper = Image.new("RGB", (256, 256), (200, 150, 90))
    content, style = (engine.invert(picture, settings, session="outlines") for picture in (astronaut, paper))
    photograph = np.asarray(fit(astronaut, content.width, engine.backbone.multiple))
    without, with_detail = (
        np.asarray(engine.stylize(content, style, FusionSettings(detail=detail, texture=0)).image) for detail in (0, 1)
    )
    own = metrics.gradient_magnitude(photograph)
    outlines = own > np.quantile(own, 0.9)
    faint, clear = (
        metrics.gradient_magnitude(picture)[outlines].mean() / own[outlines].mean()
        for picture in (without, with_detail)
    )
    assert faint < 0.3
    assert clear > 0.6
    assert metrics.edge_correlation(with_detail, photograph) > 0.9
    engine.forget("outlines")


def test_texture_that_the_vae_drops_arrives(engine: StyleEngine, astronaut, painted) -> None:
    settings = InversionSettings(steps=8)
    content, style = (engine.invert(picture, settings, session="detail") for picture in (astronaut, painted))
    example = np.asarray(fit(painted, style.width, engine.backbone.multiple))
    without, with_detail = (
        metrics.texture_distance(np.asarray(engine.stylize(content, style, settings).image), example)
        for settings in (FusionSettings(detail=0, texture=0), FusionSettings())
    )
    assert with_detail < 0.8 * without
    engine.forget("detail")
