"""The only thing that happens in pixels: the photograph's own fine detail, which the VAE lost, comes back.

Latents at an eighth of the size hold no lashes and no pores. What the VAE loses of the photograph is known, it is the
photograph less its round trip; where the style arrived it has no place, where the photograph stays it makes strength 0
the photograph itself.
"""

from __future__ import annotations

from torch import Tensor


def finished(pixels: Tensor, lost: Tensor, strength: Tensor, *, detail: float, structure: float) -> Tensor:
    """pixels + detail (1 - min(strength, 1) (1 - structure)) lost: (1, 3, height, width).

    Args:
        pixels: the decoded render, (1, 3, height, width) in about [-1, 1].
        lost: the photograph less its round trip, the same shape.
        strength: a map over pixels, (1, 1, height, width).
    """
    return pixels + detail * (1 - strength.clamp(max=1) * (1 - structure)) * lost
