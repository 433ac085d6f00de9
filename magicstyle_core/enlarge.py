"""A result at a larger size: what it changed is carried over to the larger photograph, without the model.

Around every pixel the change is a linear map of the photograph's colours, as a guided filter finds it (He and Sun, Fast
Guided Filter, arXiv 1505.00996). The maps are found at the model's size, enlarged, and applied to the larger
photograph, so that hair and lashes keep the photograph's sharpness. What is left of the change, strokes that follow
nothing in the photograph, is enlarged as it is. OpenCV has this filter, in a package of 172 MB that overwrites any
other `cv2`; numpy and Pillow, which are here, take these lines.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from magicstyle_core.errors import SettingsError
from magicstyle_core.images import Picture, open_picture, with_alpha

TIMES = (1, 2, 4)
LARGEST_SIDE = 4096  # pixels: the largest texture of many phones; it takes 2 GB for a moment
# Pixels around each, and variance below which colours count as flat. By eye on the astronaut in the manner of van Gogh
# and Matisse: a radius of 4 leaves halos along the collar, a variance of 0.01 blurs the teeth.
RADIUS = 2
FLAT = 1e-3

Channels = NDArray[np.float32]  # (height, width, channels), pixels in [0, 1]


def open_larger(source: str | Path, times: int, size: int, multiple: int) -> Picture:
    """A photograph at so many times the size at which the model takes it.

    Args:
        size, multiple: long side and grid for the model, as `open_picture` takes them.

    Raises:
        SettingsError: it would be too large.
        ImageError: the file cannot be used.
    """
    if times * size > LARGEST_SIDE:
        raise SettingsError(
            f"{times} times {size} pixels are asked for, the limit is {LARGEST_SIDE}; ask for a smaller one."
        )
    return open_picture(source, times * size, times * multiple)


def enlarge(image: Image.Image, picture: Picture, large: Picture) -> Image.Image:
    """The result at the size of the larger photograph: reduced again it is the result, and it carries its alpha.

    Args:
        image: the result, as large as `picture`.
        picture: the photograph as the model took it.
        large: the same photograph, both sides longer by one whole factor.
    """
    small, whole = _channels(picture.pixels), _channels(large.pixels)
    change = _channels(np.asarray(image.convert("RGB"))) - small
    carried = _guided(small, change, whole)
    left = change - _resized(carried, small.shape)
    values = (whole + carried + _resized(left, whole.shape)).clip(0, 1) * 255
    return with_alpha(Image.fromarray(values.round().astype(np.uint8)), large)


def _guided(guide: Channels, values: Channels, large: Channels) -> Channels:
    """The larger picture under the linear maps that come nearest to `values` around every pixel of its small copy."""
    mean, mean_v = _around(guide), _around(values)
    variance = _around(guide[..., :, None] * guide[..., None, :]) - mean[..., :, None] * mean[..., None, :]
    with_values = _around(guide[..., :, None] * values[..., None, :]) - mean[..., :, None] * mean_v[..., None, :]
    gain = np.linalg.solve(variance + FLAT * np.eye(3, dtype=np.float32), with_values)  # (height, width, from, to)
    offset = _around(mean_v - np.einsum("hwgc,hwg->hwc", gain, mean))
    gain = _around(gain)
    carried = _resized(offset, large.shape)
    for source in range(3):  # one after the other: nine enlarged maps at once would be most of the memory
        carried += _resized(gain[..., source, :], large.shape) * large[..., source : source + 1]
    return carried


def _around(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean over the square around every pixel, (height, width, ...)."""
    for axis in (0, 1):
        margin = [(RADIUS, RADIUS) if number == axis else (0, 0) for number in range(values.ndim)]
        padded = np.pad(values, margin, mode="symmetric")
        values = np.lib.stride_tricks.sliding_window_view(padded, 2 * RADIUS + 1, axis).mean(-1).astype(np.float32)
    return values


def _resized(values: Channels, shape: tuple[int, ...]) -> Channels:
    """At another height and width, smoothly."""
    size = (shape[1], shape[0])
    maps = [Image.fromarray(np.ascontiguousarray(values[..., n])) for n in range(values.shape[2])]
    return np.stack([np.asarray(each.resize(size, Image.Resampling.BICUBIC), np.float32) for each in maps], -1)


def _channels(pixels: NDArray[np.uint8]) -> Channels:
    return pixels.astype(np.float32) / np.float32(255)
