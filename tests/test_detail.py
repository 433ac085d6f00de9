from __future__ import annotations

import numpy as np
import pytest
import torch

from magicstyle_core import FusionSettings, InversionSettings, StyleEngine, metrics
from magicstyle_core.detail import fused_detail, looked_up
from magicstyle_core.images import fit


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
    ("settings", "share"),
    [
        (FusionSettings(strength=0), 0),
        (FusionSettings(structure=1), 0),
        (FusionSettings(strength=0.5, structure=0.4), 0.3),
        (FusionSettings(structure=0), 1),
        (FusionSettings(strength=1.5, structure=0), 1.5),
    ],
)
def test_the_shares_of_content_and_style(settings: FusionSettings, share: float) -> None:
    latents, own, first, second = torch.randn(1, 4, 6, 6), lost(6, 6), lost(6, 6), lost(6, 6)
    styles = [(latents, first, 3.0), (latents, second, 1.0)]
    expected = max(1 - share, 0) * own + share * (0.75 * first + 0.25 * second)
    for detail in (0, 0.5, 1):
        set_to = FusionSettings(strength=settings.strength, structure=settings.structure, detail=detail)
        fused = fused_detail(latents, own, styles, set_to, set_to.strength)
        torch.testing.assert_close(fused, detail * expected)


def test_without_colour_the_style_gives_lightness_alone() -> None:
    latents, own = torch.randn(1, 4, 6, 6), torch.zeros(1, 3, 48, 48)
    fused = fused_detail(latents, own, [(latents, lost(6, 6), 1.0)], FusionSettings(colour=0), 1.0)
    assert fused.abs().max() > 0.1
    assert torch.equal(fused[:, 0], fused[:, 2])


def test_outside_a_mask_the_content_keeps_its_own() -> None:
    latents, own = torch.randn(1, 4, 6, 6), lost(6, 6)
    strength = torch.zeros(1, 1, 6, 6)
    strength[..., :3] = 1
    fused = fused_detail(latents, own, [(latents, lost(6, 6), 1.0)], FusionSettings(structure=0), strength)
    assert torch.equal(fused[..., 24:], own[..., 24:])
    assert not torch.isclose(fused[..., :24], own[..., :24]).any(0).all()


def test_texture_that_the_vae_drops_arrives(engine: StyleEngine, astronaut, painted) -> None:
    settings = InversionSettings(steps=8)
    content, style = (engine.invert(picture, settings, session="detail") for picture in (astronaut, painted))
    example = np.asarray(fit(painted, style.width, engine.backbone.multiple))
    without, with_detail = (
        metrics.texture_distance(np.asarray(engine.stylize(content, style, FusionSettings(detail=x)).image), example)
        for x in (0, 1)
    )
    assert with_detail < 0.8 * without
    engine.forget("detail")
