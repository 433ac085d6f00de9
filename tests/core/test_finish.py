from __future__ import annotations

import pytest
import torch

from magicstyle_core.finish import finished, in_own_colours

PIXELS, LOST = torch.rand(2, 1, 3, 4, 6, generator=torch.Generator().manual_seed(0))


def everywhere(strength: float) -> torch.Tensor:
    return torch.full((1, 1, 4, 6), strength)


@pytest.mark.parametrize(
    ("strength", "detail", "structure", "share"),
    [
        (0.0, 1.0, 0.0, 1.0),  # the photograph: all that was lost comes back
        (1.0, 1.0, 0.0, 0.0),  # the style arrived: nothing does
        (1.5, 1.0, 0.0, 0.0),
        (1.0, 1.0, 1.0, 1.0),  # its shapes stay
        (0.5, 0.8, 0.25, 0.8 * (1 - 0.5 * 0.75)),
        (0.3, 0.0, 0.7, 0.0),
    ],
)
def test_what_was_lost_comes_back_where_the_photograph_stays(
    strength: float, detail: float, structure: float, share: float
) -> None:
    out = finished(PIXELS, LOST, everywhere(strength), detail=detail, structure=structure)
    torch.testing.assert_close(out, PIXELS + share * LOST)


def test_strength_is_taken_place_by_place() -> None:
    strength = everywhere(1.0)
    strength[..., :3] = 0
    out = finished(PIXELS, LOST, strength, detail=1.0, structure=0.0)
    torch.testing.assert_close(out[..., :3], (PIXELS + LOST)[..., :3])
    torch.testing.assert_close(out[..., 3:], PIXELS[..., 3:])


@pytest.fixture
def photograph() -> torch.Tensor:
    """A warm half beside a cold one, with fine stripes, (1, 3, 48, 64) in [-1, 1]."""
    picture = torch.empty(1, 3, 48, 64)
    picture[..., :32] = torch.tensor([0.6, 0.1, -0.3]).view(1, 3, 1, 1)
    picture[..., 32:] = torch.tensor([-0.5, -0.1, 0.4]).view(1, 3, 1, 1)
    picture[..., ::2, :] += 0.15
    return picture


@pytest.fixture
def render(photograph: torch.Tensor) -> torch.Tensor:
    """The photograph in greens, with strokes across."""
    grey = photograph.mean(1, keepdim=True) * torch.tensor([0.2, 1.0, 0.3]).view(1, 3, 1, 1) - 0.1
    grey[..., ::6] += 0.3
    return grey


def lightness(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1)


def test_colours_of_a_render_go_back_to_the_photographs(photograph: torch.Tensor, render: torch.Tensor) -> None:
    whole = torch.ones(1, 1, 48, 64)
    warm = photograph[..., 4:28].mean((2, 3))
    away = [
        (in_own_colours(render, photograph, whole, colour=colour)[..., 4:28].mean((2, 3)) - warm).abs().max().item()
        for colour in (1.0, 0.5, 0.0)
    ]
    assert away[0] > 0.4
    assert away[1] == pytest.approx(away[0] / 2, abs=0.1)
    assert away[2] < 0.15
    assert torch.equal(in_own_colours(render, photograph, whole, colour=1.0), render)


def test_strokes_stay_when_colours_go(photograph: torch.Tensor, render: torch.Tensor) -> None:
    own = in_own_colours(render, photograph, torch.ones(1, 1, 48, 64), colour=0.0)
    before, after = (lightness(pixels).flatten() for pixels in (render, own))
    assert torch.corrcoef(torch.stack([before, after]))[0, 1] > 0.97


def test_a_picture_in_its_own_colours_stays(photograph: torch.Tensor) -> None:
    out = in_own_colours(photograph, photograph, torch.ones(1, 1, 48, 64), colour=0.0)
    torch.testing.assert_close(out, photograph, rtol=0, atol=1e-4)


def test_colours_are_of_the_part_that_took_the_style(photograph: torch.Tensor, render: torch.Tensor) -> None:
    strength = torch.ones(1, 1, 48, 64)
    strength[..., 32:] = 0
    part = torch.where(strength > 0, render, photograph)
    out = in_own_colours(part, photograph, strength, colour=0.0)
    assert torch.equal(out[..., 32:], photograph[..., 32:])
    warm = [pixels[..., :28].mean((2, 3)) for pixels in (out, photograph)]
    torch.testing.assert_close(*warm, rtol=0, atol=0.05)
    torch.testing.assert_close(out[..., 31].mean(2), out[..., 28].mean(2), rtol=0, atol=0.1)  # up to its edge
    nothing = torch.zeros(1, 1, 48, 64)
    assert torch.equal(in_own_colours(render, photograph, nothing, colour=0.0), render)


def test_half_the_strength_everywhere_still_gives_all_of_the_own_colours(
    photograph: torch.Tensor, render: torch.Tensor
) -> None:
    half, whole = (in_own_colours(render, photograph, torch.full((1, 1, 48, 64), s), colour=0.0) for s in (0.5, 1.0))
    torch.testing.assert_close(half, whole)
