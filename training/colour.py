"""Colour as people see it, in tensors that gradients flow through."""

from __future__ import annotations

import torch
from torch import Tensor


def colour_difference(first: Tensor, second: Tensor) -> Tensor:
    """CIEDE2000 of two batches (batch, 3, height, width) in [-1, 1]: (batch, height, width).

    Source: Sharma, Wu and Dalal, The CIEDE2000 Color-Difference Formula, 2005. Gradients flow through the differences
    in lightness, chroma and hue; their weights, and the small term that rotates blues, are taken as constant.
    """
    lab_1, lab_2 = lab(first), lab(second)
    with torch.no_grad():
        redness = 1.5 - 0.5 * _saturated((_chroma(lab_1) + _chroma(lab_2)) / 2)
    a_1, a_2 = lab_1[:, 1] * redness, lab_2[:, 1] * redness
    b_1, b_2 = lab_1[:, 2], lab_2[:, 2]
    chroma_1, chroma_2 = ((a.square() + b.square() + 1e-4).sqrt() for a, b in ((a_1, b_1), (a_2, b_2)))
    lightness, chroma = lab_2[:, 0] - lab_1[:, 0], chroma_2 - chroma_1
    hue_squared = ((a_2 - a_1).square() + (b_2 - b_1).square() - chroma.square()).clamp(min=0)
    with torch.no_grad():
        from_middle = ((lab_1[:, 0] + lab_2[:, 0]) / 2 - 50).square()
        mean_chroma = (chroma_1 + chroma_2) / 2
        hue = torch.atan2(b_1 / chroma_1 + b_2 / chroma_2, a_1 / chroma_1 + a_2 / chroma_2).rad2deg() % 360
        ripple = (
            1
            - 0.17 * _cosine(hue - 30)
            + 0.24 * _cosine(2 * hue)
            + 0.32 * _cosine(3 * hue + 6)
            - 0.20 * _cosine(4 * hue - 63)
        )
        lightness_weight = 1 + 0.015 * from_middle / (20 + from_middle).sqrt()
        chroma_weight = 1 + 0.045 * mean_chroma
        hue_weight = 1 + 0.015 * mean_chroma * ripple
        turn = (60 * (-((hue - 275) / 25).square()).exp()).deg2rad().sin()
        signed_hue = hue_squared.sqrt() * (a_1 * b_2 - a_2 * b_1).sign()
        rotation = -2 * _saturated(mean_chroma) * turn * chroma * signed_hue / (chroma_weight * hue_weight)
    squared = (
        (lightness / lightness_weight).square()
        + (chroma / chroma_weight).square()
        + hue_squared / hue_weight.square()
        + rotation
    )
    return (squared.clamp(min=0) + 1e-2).sqrt()


def _chroma(lab_colours: Tensor) -> Tensor:
    return lab_colours[:, 1:].square().sum(1).sqrt()


def _saturated(chroma: Tensor) -> Tensor:
    """From 0 for greys to 1 for vivid colours."""
    return (chroma**7 / (chroma**7 + 25**7)).sqrt()


def _cosine(degrees: Tensor) -> Tensor:
    return degrees.deg2rad().cos()


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
