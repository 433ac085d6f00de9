"""Colour as people see it, in tensors that gradients flow through."""

from __future__ import annotations

import torch
from torch import Tensor


def colour_difference(first: Tensor, second: Tensor) -> Tensor:
    """CIE94 of two batches (batch, 3, height, width) in [-1, 1], the second the reference: (batch, height, width)."""
    lab_1, lab_2 = lab(first), lab(second)
    chroma_1, chroma_2 = ((x[:, 1:].square().sum(1) + 1e-4).sqrt() for x in (lab_1, lab_2))
    lightness, chroma = lab_1[:, 0] - lab_2[:, 0], chroma_1 - chroma_2
    hue_squared = (lab_1[:, 1:] - lab_2[:, 1:]).square().sum(1) - chroma.square()
    squared = (
        lightness.square()
        + (chroma / (1 + 0.045 * chroma_2)).square()
        + hue_squared.clamp(min=0) / (1 + 0.015 * chroma_2).square()
    )
    return (squared + 1e-2).sqrt()


def lab(images: Tensor) -> Tensor:
    """(batch, 3, height, width), sRGB in [-1, 1] to CIELAB under D65."""
    encoded = (images.clamp(-1, 1) + 1) / 2
    linear = torch.where(encoded > 0.04045, ((encoded + 0.055) / 1.055) ** 2.4, encoded / 12.92)
    to_xyz = images.new_tensor(
        [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
    )
    white = images.new_tensor([0.95047, 1.0, 1.08883])
    ratio = torch.einsum("ij,bjhw->bihw", to_xyz / white[:, None], linear)
    x, y, z = torch.where(ratio > 0.008856, ratio.clamp(min=0.008856) ** (1 / 3), 7.787 * ratio + 16 / 116).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)
