from __future__ import annotations

import pytest
import torch

from magicstyle_core.finish import finished

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
