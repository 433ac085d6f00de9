from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from training.judge import (
    LAYERS,
    Judge,
    adaattn_target,
    adaattn_targets,
    content_loss,
    feature_loss,
    latent_style,
    lattice,
    moments,
    relaxed_emd,
    sliced_wasserstein,
    standardised_grey,
    style_loss,
)


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_features_are_halved_from_block_to_block(judge: Judge, pictures: torch.Tensor) -> None:
    assert {name: tuple(x.shape[2:]) for name, x in judge(pictures).items()} == dict(
        zip(LAYERS, [(64, 64), (32, 32), (16, 16), (8, 8)], strict=True)
    )


def test_a_picture_is_at_no_distance_from_itself(judge: Judge, pictures: torch.Tensor) -> None:
    seen = judge(pictures)
    assert content_loss(seen, seen).abs().max() < 1e-5
    assert feature_loss(seen, seen).max() == 0
    flat = seen["relu2_2"].flatten(2)
    assert sliced_wasserstein(flat, flat).max() < 1e-6
    assert moments(flat, flat).max() < 1e-6
    assert relaxed_emd(seen["relu3_3"].flatten(2), seen["relu3_3"].flatten(2)).abs().max() < 1e-5


def test_style_is_about_what_and_content_about_where(judge: Judge, pictures: torch.Tensor) -> None:
    moved = pictures.roll(24, 3)
    plain = pictures * 0.6
    seen, seen_moved, seen_plain = judge(pictures), judge(moved), judge(plain)
    loss_moved, loss_plain = (style_loss(x, seen, adaattn_targets(x, seen)) for x in (seen_moved, seen_plain))
    assert (loss_moved < loss_plain).all()
    assert (content_loss(seen_plain, seen) < content_loss(seen_moved, seen)).all()


def test_a_flat_style_weighs_no_more_than_others(judge: Judge, pictures: torch.Tensor) -> None:
    seen, flat = judge(pictures), judge(torch.zeros_like(pictures))
    ordinary = style_loss(judge(pictures.flip(1)), seen, adaattn_targets(seen, seen))
    far = style_loss(seen, flat, adaattn_targets(seen, flat))
    assert (far < 100 * ordinary).all()


def test_what_looks_alike_takes_its_own_style(judge: Judge, pictures: torch.Tensor) -> None:
    """A style that is the content leads back to features of its own deviation and mean."""
    seen = judge(pictures)["relu3_3"]
    target = adaattn_target(seen, seen)
    assert target.shape == seen.shape
    assert torch.allclose(target.mean(), seen.mean(), rtol=0.3)


def test_a_lattice_is_seen_at_any_contrast_and_strokes_are_not() -> None:
    strokes = F.avg_pool2d(torch.randn(2, 3, 130, 130, generator=torch.Generator().manual_seed(1)), 3, 1)
    assert lattice(strokes).max() < 0.1
    assert lattice(torch.zeros(1, 3, 64, 64)) == 0
    dot = F.pad(torch.full((1, 3, 2, 2), 0.05), (3, 3, 3, 3))
    assert lattice(dot.tile(1, 1, 16, 16)) > 1
    pale_squares = 0.05 * torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    assert lattice(F.interpolate(pale_squares, scale_factor=8)) > 1
    half_a_sky = torch.cat([strokes[:1], F.interpolate(pale_squares, scale_factor=8)], 3)
    assert lattice(half_a_sky) > 1
    bars = torch.zeros(1, 3, 128, 128)
    bars[..., ::2] = 0.05
    assert lattice(bars) > 0.3


def test_standardised_grey_has_no_palette_level_or_contrast(pictures: torch.Tensor) -> None:
    grey = standardised_grey(pictures)
    assert torch.equal(grey[:, :1].expand_as(grey), grey)
    other = (pictures * 0.5 + 0.2).clamp(-1, 1)
    assert (standardised_grey(other) - grey).abs().max() < 0.05
    assert standardised_grey(torch.full((1, 3, 8, 8), 0.7)).abs().max() < 1e-3


def test_latents_moved_about_keep_their_style_and_smoothed_ones_lose_it() -> None:
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(latents, 3, 1, 1)
    near, far = latent_style(latents.flip(0).flip(2, 3), latents.flip(0)), latent_style(smooth, latents)
    assert near.shape == (2,)
    assert (near < 0.2 * far).all()
