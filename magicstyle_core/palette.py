"""The palette of latents: the distribution of their colours, and what brings one onto another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PALETTE_BLUR = 3  # latents along the square that is smoothed; the smallest that has a middle
# Of the mean variance; a square that varies by more keeps its edge. By eye, on halos along outlines: beside a step .12
# of it remains, where plain smoothing leaves .33.
PALETTE_EDGE = 0.5
PALETTE_FLOOR = 0.1  # of the mean variance, added to all directions: it limits the gain of faint colours. By eye


def palette_shift(latents: Tensor, palette: Tensor, allowed: Tensor | None = None) -> Tensor:
    """What has to be added to clean latents for them to take the palette of others, row by row.

    The distribution of the smoothed latents goes onto that of the smoothed palette by the linear Monge-Kantorovich
    map (Pitié & Kokaram, The Linear Monge-Kantorovitch Linear Colour Mapping, 2007); detail stays as it is:

        (M - 1) (x - mean) + mean_s - mean,   M = A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2,   A, B the covariances

    Args:
        latents: (batch, channels, height, width).
        palette: (batch or 1, channels, any height, any width).
        allowed: which part of it counts, bool (any height, any width); None = all of it.
    """
    smooth = smoothed(latents)
    mean, covariance = _statistics(smooth.flatten(2))
    mean_s, covariance_s = _statistics(positions(smoothed(palette), allowed))
    root, inverse = _power(covariance, 0.5), _power(covariance, -0.5)
    transport = inverse @ _power(root @ covariance_s @ root, 0.5) @ inverse  # (batch, channels, channels)
    gain = (transport - torch.eye(transport.shape[-1], dtype=transport.dtype)).to(latents)
    mean, mean_s = (m.to(latents)[..., None, None] for m in (mean, mean_s))  # (batch, channels, 1, 1)
    return torch.einsum("bdc,bchw->bdhw", gain, smooth - mean) + mean_s - mean


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


def _statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (batch, channels) and covariance (batch, channels, channels) of positions, in fp64 on the CPU."""
    values = values.cpu().double()  # (batch, channels, positions)
    mean = values.mean(2)
    centred = values - mean[..., None]
    covariance = centred @ centred.mT / values.shape[2]
    floor = PALETTE_FLOOR * covariance.diagonal(dim1=1, dim2=2).mean(1) + 1e-6  # (batch,)
    return mean, covariance + floor.view(-1, 1, 1) * torch.eye(covariance.shape[1], dtype=covariance.dtype)


def _power(symmetric: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(symmetric)  # (batch, channels), (batch, channels, channels)
    return (vectors * values.clamp(min=1e-12).unsqueeze(-2) ** exponent) @ vectors.mT
