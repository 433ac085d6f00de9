"""The palette of latents: the distribution of their colours, and what brings one onto another."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from magicstyle_core.transport import moments, transported

PALETTE_BLUR = 3  # latents along the square that is smoothed; the smallest that has a middle
# Of the mean variance; a square that varies by more keeps its edge. By eye, on halos along outlines: beside a step .12
# of it remains, where plain smoothing leaves .33.
PALETTE_EDGE = 0.5


def palette_shift(latents: Tensor, palette: Tensor, allowed: Tensor | None = None) -> Tensor:
    """What has to be added to clean latents for them to take the palette of others, row by row.

    The smoothed latents go to the moments of the smoothed palette by the linear Monge-Kantorovich map (transport.py);
    detail stays as it is.

    Args:
        latents: (batch, channels, height, width).
        palette: (batch or 1, channels, any height, any width).
        allowed: which part of it counts, bool (any height, any width); None = all of it.
    """
    smooth = smoothed(latents).flatten(2).mT  # (batch, positions, channels)
    wanted = moments(positions(smoothed(palette), allowed).mT)
    return (transported(smooth, moments(smooth), wanted) - smooth).mT.reshape(latents.shape)


def smoothed(latents: Tensor) -> Tensor:
    """Without detail but with edges, across which colours would leave halos: the same shape.

    A guided filter (He, Sun & Tang, Guided Image Filtering, 2013) that guides itself, all channels by one share:

        mean(a) x + mean((1 - a) mean(x)),   a = v / (v + PALETTE_EDGE * v_all),   v the variance around a position
    """
    mean = _mean_around(latents)
    variance = (_mean_around(latents.square()) - mean.square()).mean(1, keepdim=True)  # (batch, 1, height, width)
    whole = latents.var((2, 3), correction=0).mean(1).view(-1, 1, 1, 1)
    share = variance / (variance + PALETTE_EDGE * whole + 1e-12)
    return _mean_around(share) * latents + _mean_around((1 - share) * mean)


def positions(latents: Tensor, allowed: Tensor | None) -> Tensor:
    """Positions of latents (batch, channels, height, width) as (batch, channels, positions)."""
    return latents.flatten(2) if allowed is None else latents[..., allowed]


def _mean_around(latents: Tensor) -> Tensor:
    """The mean over a square around every position, without what lies outside."""
    return F.avg_pool2d(latents, PALETTE_BLUR, 1, PALETTE_BLUR // 2, count_include_pad=False)
