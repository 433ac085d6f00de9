"""Tensors of random numbers."""

from __future__ import annotations

import torch
from torch import Tensor


def randoms(*shape: int, count: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(count)]
