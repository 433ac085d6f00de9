"""A margin around pictures and latents that repeats them mirrored, so that no model sees where they end.

Beyond its input a convolution reads zeros. A small model answers to that along the rim, and where a render changes the
colours this shows as a frame. With a margin it falls outside of the picture.
"""

from __future__ import annotations

import torch
from torch import Tensor


def with_margin(maps: Tensor, margin: int) -> Tensor:
    """(1, channels, height, width) to (1, channels, height + 2 margin, width + 2 margin).

    Args:
        margin: at most the shorter side.
    """
    for dim in (2, 3):
        first, last = maps.narrow(dim, 0, margin), maps.narrow(dim, maps.shape[dim] - margin, margin)
        maps = torch.cat([first.flip(dim), maps, last.flip(dim)], dim)
    return maps


def without_margin(maps: Tensor, margin: int) -> Tensor:
    """The inverse of `with_margin`."""
    height, width = maps.shape[2:]
    return maps[:, :, margin : height - margin, margin : width - margin]
