"""Fine detail: what the VAE loses of a picture, put back in pixels.

Latents at an eighth of the size hold no lashes, brush hairs or tesserae. An inversion keeps what its image lost, so
that a render gets it back: the content's where the content stays, the style's where the style arrived.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from magicstyle_core.settings import FusionSettings

NEIGHBOURHOOD = 3  # latents; places are alike if their latents over this square are
ROWS = 1024  # places looked up at once, which bounds the memory

Style = tuple[Tensor, Tensor, float]  # clean latents, lost detail, weight


def fused_detail(
    latents: Tensor, lost: Tensor, styles: Sequence[Style], settings: FusionSettings, strength: float | Tensor
) -> Tensor:
    """What to add to the decoded render: (1, 3, height, width), in units of pixels in [-1, 1].

        detail * (max(1 - w, 0) lost + w * sum of weight_s * lost_s, looked up),  w = strength * (1 - structure)

    Of a style's lost detail `colour` is the share of its chroma that comes along.

    Args:
        latents: the finished render, (1, channels, latent_height, latent_width).
        lost: of the content, (1, 3, height, width).
        strength: settings.strength, or a map of it, (1, 1, latent_height, latent_width).
    """
    if isinstance(strength, Tensor):
        strength = F.interpolate(strength, lost.shape[2:], mode="nearest")  # (1, 1, height, width)
    share = torch.as_tensor(strength * (1 - settings.structure))
    fused = (1 - share).clamp(min=0) * lost
    if settings.detail > 0 and share.any():
        total = sum(weight for *_, weight in styles)
        for style_latents, style_lost, weight in styles:
            found = looked_up(style_lost, latents, style_latents)
            grey = found.mean(1, keepdim=True)
            fused = fused + weight / total * share * (grey + settings.colour * (found - grey))
    return settings.detail * fused


def looked_up(lost: Tensor, latents: Tensor, style_latents: Tensor) -> Tensor:
    """At every place the detail of the style's place with the most similar latents: (1, 3, height, width).

    That is attention from the render's latents to the style's, with the style's detail as values and each place
    attending to one other alone.

    Args:
        lost: of the style, (1, 3, style_height, style_width).
        latents: (1, channels, latent_height, latent_width).
        style_latents: (1, channels, style_latent_height, style_latent_width).
    """
    patch = lost.shape[2] // style_latents.shape[2]  # pixels per latent
    query, key = (F.unfold(z, NEIGHBOURHOOD, padding=NEIGHBOURHOOD // 2)[0].T for z in (latents, style_latents))
    value = F.pixel_unshuffle(lost, patch)[0].flatten(1)  # (3 * patch^2, style places)
    half_norms = key.square().sum(1) / 2  # (style places,)
    nearest = torch.cat([(rows @ key.T - half_norms).argmax(1) for rows in query.split(ROWS)])  # (places,)
    found = value[:, nearest].view(1, -1, latents.shape[2], latents.shape[3])
    return F.pixel_shuffle(found, patch)  # (1, 3, height, width)
