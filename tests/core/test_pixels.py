"""Pixels as tensors and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from magicstyle_core.pixels import mask_tensor, to_image, to_tensor

PIXELS = np.arange(16 * 24 * 3, dtype=np.uint16).astype(np.uint8).reshape(16, 24, 3)


def test_tensor_and_picture_are_an_inverse_pair() -> None:
    tensor = to_tensor(PIXELS)
    assert (tensor.shape, tensor.dtype) == ((1, 3, 16, 24), torch.float32)
    assert (tensor.min(), tensor.max()) == (-1, 1)
    assert np.array_equal(np.asarray(to_image(tensor)), PIXELS)


def test_a_batch_is_its_pictures_one_by_one() -> None:
    batch = to_tensor(np.stack([PIXELS, PIXELS[::-1]]))
    assert batch.shape == (2, 3, 16, 24)
    assert torch.equal(batch[1:], to_tensor(PIXELS[::-1]))


@pytest.mark.parametrize(("value", "pixel"), [(-9.0, 0), (9.0, 255), (0.0, 128)])
def test_values_outside_are_clipped(value: float, pixel: int) -> None:
    assert to_image(torch.full((1, 3, 16, 16), value)).getpixel((3, 3)) == (pixel, pixel, pixel)


def test_a_mask_is_its_brightness_at_the_size_asked_for() -> None:
    mask = Image.new("L", (40, 20), 0)
    mask.paste(255, (20, 0, 40, 20))
    for image in (mask, mask.convert("1"), mask.convert("RGB")):
        tensor = mask_tensor(image, 20, 40)
        assert tensor.shape == (1, 1, 20, 40)
        assert torch.equal(tensor[0, 0, 0], torch.tensor([0.0] * 20 + [1.0] * 20))
    small = mask_tensor(mask, 5, 8)
    assert small.shape == (1, 1, 5, 8)
    assert 0 <= small.min() < 0.05 < 0.95 < small.max() <= 1
