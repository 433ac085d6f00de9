"""The last lesson of the embedded model: a render as it is served, judged as people judge it.

The training before teaches one step of denoising at a time. Here content and style are inverted and renders rolled out
through the method's own attention, a batch at a time. At the last step and one other, gradients flow into the UNet from
what the picture would be by that step: its texture and palette against the style picture's, its outlines against the
content's. The measures are those of `training.metrics`, made differentiable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC, UNet2DConditionModel
from torch import Tensor

from magicstyle_core.attention import Features, FusionInputs, fusing, recording, self_attention_layers
from magicstyle_core.detail import fused_detail
from magicstyle_core.rendering import palette_shift
from magicstyle_core.schedule import ddim_timesteps, move, predict_x0, to_noise_pred
from magicstyle_core.settings import FusionSettings
from training.colour import lab

STEPS = (4, 8)  # of a rollout, from the first to below the second
DIRECTIONS = 24  # projections of a sliced Wasserstein distance
PATCH = 7  # pixels along a texture patch
SCALES = (1, 2, 4)  # by which pictures are made smaller for texture
LEAST_DISTANCE = 0.3  # of content to style in texture, in units of CIELAB; what is less counts as this
LEAST_PALETTE_DISTANCE = 3.0  # the same of colours
OUTLINES = 1.2  # weight of the outlines; the texture's is 1
PALETTE = 0.5  # weight of the palette


@dataclass(frozen=True)
class Pairs:
    """Clean latents, each (examples, 16, size, size), and their pixels, each (examples, 3, 8 size, 8 size)."""

    content: Tensor
    style: Tensor
    content_pixels: Tensor
    style_pixels: Tensor

    def to(self, device: str) -> Pairs:
        return Pairs(*(x.to(device) for x in vars(self).values()))


@dataclass(frozen=True)
class Inverted:
    """Trajectories of a batch, each (examples, 16, size, size) per step, and the layer inputs per step."""

    trajectory: list[Tensor]
    noise: list[Tensor]
    features: list[Features]

    def rows(self, start: int, end: int | None) -> Inverted:
        return Inverted(
            [latents[start:end] for latents in self.trajectory],
            [noise[start:end] for noise in self.noise],
            [{name: x[start:end] for name, x in features.items()} for features in self.features],
        )


class Rollout:
    """Inversions and renders of whole batches by one UNet with v prediction."""

    def __init__(self, unet: UNet2DConditionModel, vae: AutoencoderDC, alphas_cumprod: Tensor) -> None:
        self.unet, self.vae, self.alphas_cumprod = unet, vae, alphas_cumprod
        self.layers = self_attention_layers(unet)
        self.prompt = torch.zeros(1, 1, unet.config.cross_attention_dim, device=alphas_cumprod.device)

    def loss(self, pairs: Pairs, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Of renders of the contents after the styles, at random settings.

        Returns:
            The loss, and what the finished pictures were judged: texture, palette, outlines, (3,).
        """
        timesteps = ddim_timesteps(int(rng.integers(*STEPS)), len(self.alphas_cumprod))
        settings = FusionSettings(
            strength=1.0 if rng.random() < 0.7 else rng.uniform(1, 1.5),
            structure=rng.uniform(0, 0.3),
            temperature=rng.uniform(1.2, 2.0),
        )
        judged = {0, int(rng.integers(1, len(timesteps)))}
        judge = Judge(lab(pairs.content_pixels), lab(pairs.style_pixels))
        with torch.no_grad():
            lost = pairs.content_pixels - self.decode(pairs.content)
            references = list(zip(pairs.style, pairs.style_pixels - self.decode(pairs.style), strict=True))
        weights = torch.tensor([1.0, PALETTE, OUTLINES], device=lost.device)
        loss, judgement = torch.zeros((), device=lost.device), weights
        for i, x0 in self.render(pairs.content, pairs.style, timesteps, settings, judged):
            details = [
                fused_detail(z[None], lost_c[None], [(style[None], lost_s[None], 1.0)], settings, 1.0)
                for z, lost_c, (style, lost_s) in zip(x0.detach(), lost, references, strict=True)
            ]
            judgement = judge(lab(self.decode(x0) + torch.cat(details)))
            loss = loss + self.alphas_cumprod[timesteps[i]] / len(judged) * (weights * judgement).sum()
        return loss, judgement.detach()

    def render(
        self, content: Tensor, style: Tensor, timesteps: list[int], settings: FusionSettings, judged: set[int]
    ) -> Iterator[tuple[int, Tensor]]:
        """As `rendering.render`, for a batch, strength from 1 up and all layers.

        Yields:
            At the judged steps, descending, the clean latents as foreseen, through which gradients flow.
        """
        both = self._invert(torch.cat([content, style]), timesteps)
        contents, styles = both.rows(0, len(content)), both.rows(len(content), None)
        latents = self._start(contents, styles, timesteps[-1])
        for i in reversed(range(len(timesteps))):
            inputs = FusionInputs(
                contents.features[i],
                [styles.features[i]],
                [1.0],
                settings.strength,
                settings.structure,
                settings.temperature,
                settings.fusion,
            )
            fused = fusing(self.unet, self.layers, inputs, (content.shape[2], content.shape[3]))
            with torch.set_grad_enabled(i in judged), fused:
                noise_pred = self._noise_pred(latents, timesteps[i])
            alpha = self.alphas_cumprod[timesteps[i]]
            if i in judged:
                x0 = predict_x0(latents, noise_pred, alpha)
                yield i, x0 + palette_shifts(x0.detach(), style)
            j = max(i - 1, 0)
            alpha_to = self.alphas_cumprod[timesteps[j]]
            residual = contents.trajectory[j] - move(contents.trajectory[i], contents.noise[i], alpha, alpha_to)
            latents = move(latents, noise_pred.detach(), alpha, alpha_to) + residual

    @torch.no_grad()
    def _invert(self, latents: Tensor, timesteps: list[int]) -> Inverted:
        inverted = Inverted([], [], [])
        for timestep, following in zip(timesteps, [*timesteps[1:], timesteps[-1]], strict=True):
            with recording(self.unet, self.layers) as features:
                noise_pred = self._noise_pred(latents, timestep)
            inverted.trajectory.append(latents)
            inverted.noise.append(noise_pred)
            inverted.features.append(features)
            latents = move(latents, noise_pred, self.alphas_cumprod[timestep], self.alphas_cumprod[following])
        return inverted

    def _start(self, contents: Inverted, styles: Inverted, timestep: int) -> Tensor:
        """As `rendering.start_latents`, for a batch and at strength 1."""
        shift = self.alphas_cumprod[timestep].sqrt() * palette_shifts(contents.trajectory[0], styles.trajectory[0])
        return contents.trajectory[-1] + shift

    def _noise_pred(self, latents: Tensor, timestep: int) -> Tensor:
        latents = latents.contiguous(memory_format=torch.channels_last)
        output = self.unet(latents, timestep, self.prompt.expand(len(latents), -1, -1)).sample
        return to_noise_pred(output, latents, self.alphas_cumprod[timestep], "v_prediction")

    def decode(self, latents: Tensor) -> Tensor:
        """(examples, 3, 8 size, 8 size) in [-1, 1] or a little beyond."""
        return self.vae.decode(latents / self.vae.config.scaling_factor).sample


class Judge:
    """Measures pictures in CIELAB, (examples, 3, height, width), against contents and styles of the same size."""

    def __init__(self, picture_c: Tensor, picture_s: Tensor) -> None:
        device = picture_c.device
        directions = torch.randn(DIRECTIONS, 1, PATCH, PATCH, device=device)
        directions = directions - directions.mean((2, 3), keepdim=True)  # a patch's own mean does not count
        self.patch_directions = directions / directions.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        self.colour_directions = F.normalize(torch.randn(DIRECTIONS, 3, 1, 1, device=device), dim=1)
        self.gradient_c = gradient(picture_c[:, :1])
        self.style = self._distributions(picture_s)
        content = self._distributions(picture_c)
        least = (*[LEAST_DISTANCE] * len(SCALES), LEAST_PALETTE_DISTANCE)
        self.own = [
            (x - x_s).abs().mean((1, 2)).clamp(min=at_least)
            for x, x_s, at_least in zip(content, self.style, least, strict=True)
        ]

    def __call__(self, picture: Tensor) -> Tensor:
        """Texture, palette, outlines: (3,), all about 0 at best; texture and palette are 1 if no nearer than before."""
        *textures, palette = (
            ((x - x_s).abs().mean((1, 2)) / own).mean()
            for x, x_s, own in zip(self._distributions(picture), self.style, self.own, strict=True)
        )
        outlines = 1 - correlation(gradient(picture[:, :1]), self.gradient_c).mean()
        return torch.stack([torch.stack(textures).mean(), palette, outlines])

    def _distributions(self, picture: Tensor) -> list[Tensor]:
        """Of patches of lightness at each of the SCALES, then of colours, each (examples, directions, n), ascending."""
        projected = [
            F.conv2d(F.avg_pool2d(picture[:, :1], scale), self.patch_directions, stride=max(2 // scale, 1))
            for scale in SCALES
        ]
        projected.append(F.conv2d(picture, self.colour_directions, stride=2))
        return [x.flatten(2).sort(-1).values for x in projected]


def gradient(lightness: Tensor) -> Tensor:
    """Sobel magnitudes after a blur of one pixel: (examples, n)."""
    taps = torch.exp(-0.5 * torch.arange(-3.0, 4.0, device=lightness.device) ** 2)
    taps = taps / taps.sum()
    smooth = F.conv2d(F.pad(lightness, (3, 3, 3, 3), mode="replicate"), taps.outer(taps)[None, None])
    sobel = lightness.new_tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    slopes = F.conv2d(smooth, torch.stack([sobel, sobel.T])[:, None])  # (examples, 2, height, width)
    return (slopes.square().sum(1) + 1e-4).sqrt().flatten(1)


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's, of each row: (examples,)."""
    first, second = (F.normalize(x - x.mean(1, keepdim=True), dim=1) for x in (first, second))
    return (first * second).sum(1)


def palette_shifts(latents: Tensor, style: Tensor) -> Tensor:
    """`palette_shift` of every example."""
    return torch.cat([palette_shift(z[None], [(s[None], 1.0)]) for z, s in zip(latents, style, strict=True)])
