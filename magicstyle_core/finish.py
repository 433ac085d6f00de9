"""The two things that happen in pixels: the photograph's colours, if they are to stay, and its finest detail.

Neither draws anything: a map of colours is one for the whole picture, with a tint as smooth as CELLS says, and what the
VAE lost comes back only where the style has not arrived.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from magicstyle_core.transport import moments, transported

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: the lightness of red, green and blue
# Along the shorter side. By eye on mini: with 16 skin is skin and no edge bleeds; without any, faces turn as orange as
# a suit where the style is ink.
CELLS = 16


def in_own_colours(pixels: Tensor, photograph: Tensor, strength: Tensor, *, colour: float) -> Tensor:
    """A render on its way to the photograph's colours: 0 = all the way, 1 = as it is; (1, 3, height, width).

    First all colours move to the mean and the covariance of the photograph's (transport.py), weighted by the strength.
    Then every place gets the photograph's tint, smoothly; lightness stays, and so do the strokes.

    In latents the same map leaves fine detail as strong as it was, and strokes lose half a tenth against shapes
    (docs/method.md). It is the idea of Gatys et al., Preserving Color in Neural Artistic Style Transfer
    (arXiv 1606.05897).

    Args:
        pixels: the decoded render, (1, 3, height, width) in about [-1, 1].
        photograph: the same shape.
        strength: a map over pixels, (1, 1, height, width).
    """
    if not strength.any():
        return pixels
    amount = strength / strength.max()  # a face that took .6 of the style goes .6 of the way back
    colours, wanted = (picture.flatten(2).mT for picture in (pixels, photograph))  # (1, height * width, 3)
    counts = amount.flatten(2).mT  # (1, height * width, 1)
    moved = transported(colours, moments(colours, counts), moments(wanted, counts)).mT.reshape(pixels.shape)
    lacking = photograph - moved
    tint = lacking - (lacking * lacking.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)  # (1, 3, height, width)
    cell = max(1, min(pixels.shape[2:]) // CELLS)

    def smooth(maps: Tensor) -> Tensor:
        coarse = F.avg_pool2d(maps, cell, ceil_mode=True, count_include_pad=False)  # (1, any, CELLS or more, the same)
        return F.interpolate(coarse, pixels.shape[2:], mode="bilinear")

    # Of the part that took the style alone; the clamp is for places far from it, which stay anyway.
    moved = moved + smooth(amount * tint) / smooth(amount).clamp(min=1e-6)
    return torch.lerp(pixels, moved, (1 - colour) * amount)


def finished(pixels: Tensor, lost: Tensor, strength: Tensor, *, detail: float, structure: float) -> Tensor:
    """pixels + detail (1 - min(strength, 1) (1 - structure)) lost: (1, 3, height, width).

    Latents at an eighth of the size hold no lashes and no pores. What the VAE loses of the photograph is known, it is
    the photograph less its round trip; where the style arrived it has no place, where the photograph stays it makes
    strength 0 the photograph itself.

    Args:
        pixels: the decoded render, (1, 3, height, width) in about [-1, 1].
        lost: the photograph less its round trip, the same shape.
        strength: a map over pixels, (1, 1, height, width).
    """
    return pixels + detail * (1 - strength.clamp(max=1) * (1 - structure)) * lost
