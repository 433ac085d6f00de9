"""Latents to pixels without the VAE decoder: a linear map fitted on an image whose latents are known.

One latent pixel maps to the whole patch of pixels it stands for, so that a preview has full size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def fit_rgb_map(latents: Tensor, pixels: Tensor) -> Tensor:
    """Least squares from (1, channels, h, w) latents to (1, 3, h * f, w * f) pixels: (channels + 1, 3 * f * f)."""
    patch = pixels.shape[-1] // latents.shape[-1]
    targets = F.pixel_unshuffle(pixels, patch).flatten(2)[0].T  # (h * w, 3 * f * f)
    solution = torch.linalg.lstsq(_with_one(latents), targets).solution
    return solution.clone()  # itself it is a view of the solver's memory, as large as the picture


def linear_preview(latents: Tensor, rgb_map: Tensor) -> Tensor:
    """Approximate pixels of (1, channels, h, w) latents: (1, 3, h * f, w * f), in [-1, 1]."""
    patch = int((rgb_map.shape[1] // 3) ** 0.5)
    patches = (_with_one(latents) @ rgb_map).T.unflatten(1, latents.shape[-2:])  # (3 * f * f, h, w)
    return F.pixel_shuffle(patches[None], patch).clamp(-1, 1)


def _with_one(latents: Tensor) -> Tensor:
    """One row per latent pixel, a constant appended: (h * w, channels + 1)."""
    rows = latents.flatten(2)[0].T  # (h * w, channels)
    return F.pad(rows, (0, 1), value=1.0)
