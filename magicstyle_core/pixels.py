"""Pixels as tensors, (batch, 3, height, width) in [-1, 1], and back."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 (height, width, 3) or (batch, height, width, 3) as float32 (batch, 3, height, width)."""
    values = torch.from_numpy(pixels.astype(np.float32)) / 127.5 - 1  # as the pixels
    return values.view(-1, *values.shape[-3:]).permute(0, 3, 1, 2)  # (batch, 3, height, width)


def to_image(tensor: Tensor) -> Image.Image:
    """The first of a batch as a picture; values outside of [-1, 1] are clipped."""
    pixels = (tensor[0].float().permute(1, 2, 0) + 1) * 127.5  # (height, width, 3)
    return Image.fromarray(pixels.round().clamp(0, 255).to("cpu", torch.uint8).numpy())


def mask_tensor(mask: Image.Image, height: int, width: int) -> Tensor:
    """A mask's brightness as float32 (1, 1, height, width) in [0, 1]."""
    values = np.asarray(mask.convert("L").resize((width, height), Image.Resampling.BILINEAR), np.float32)
    return torch.from_numpy(values / 255)[None, None]
