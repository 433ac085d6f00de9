"""FFF: denoising from the content's noise, with FFA in the chosen layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from magicstyle_core.attention import Features, FusionInputs, Layer, fusing
from magicstyle_core.backbone import Backbone
from magicstyle_core.features import Inversion
from magicstyle_core.schedule import move, predict_x0
from magicstyle_core.settings import FusionSettings

VARIATION = 0.4  # share of the start latent's norm that a seed replaces at strength 1


@dataclass(frozen=True)
class RenderStep:
    """The state after one UNet call."""

    step: int  # UNet calls done, 1 .. total
    total: int
    latents: Tensor  # (1, channels, height, width), fp32
    x0: Tensor  # the clean latents as foreseen at this step, same shape


@torch.no_grad()
def render(
    backbone: Backbone,
    content: Inversion,
    styles: Sequence[tuple[Inversion, float]],
    settings: FusionSettings,
    layers: Sequence[Layer],
    indices: Sequence[int],
    features: Callable[[Inversion, int], Features],
    strength: float | Tensor,
) -> Iterator[RenderStep]:
    """Denoises along the stored steps `indices` (descending, ending at 0), one UNet call each.

    After every move the content's own residual r = z_j* - move(z_i*, e_i*) is added, from stored latents
    alone. Without style every step therefore lands on the content's trajectory, for any subset of steps.

    Args:
        features: gives the layer inputs of an inversion at a stored step.
        strength: settings.strength, or a map of it, (1, 1, latent_height, latent_width).
    """
    device = backbone.device
    trajectory, noise = content.trajectory.to(device), content.noise.to(device)  # (T, channels, height, width)
    latents = _start(content, styles, settings, strength, indices[0], device)
    weights = [weight for _, weight in styles]
    off = not isinstance(strength, Tensor) and strength == 0
    for step, i in enumerate(indices, 1):
        way_down = 1 - i / (content.steps - 1)
        if off or not settings.start <= way_down <= settings.end:
            attention: AbstractContextManager[None] = nullcontext()
        else:
            inputs = FusionInputs(
                features(content, i),
                [features(style, i) for style, _ in styles],
                weights,
                strength,
                settings.structure,
                settings.temperature,
                settings.fusion,
                backbone.attend,
            )
            attention = fusing(backbone.unet, layers, inputs, (latents.shape[2], latents.shape[3]))
        with backbone.lock, attention:
            noise_pred = backbone.noise_pred(latents, content.timesteps[i])  # (1, channels, height, width)
        alpha = backbone.alpha_cumprod(content.timesteps[i])
        last = step == len(indices)
        j = 0 if last else indices[step]
        alpha_to = backbone.final_alpha_cumprod if last else backbone.alpha_cumprod(content.timesteps[j])
        x0 = predict_x0(latents, noise_pred, alpha)
        residual = trajectory[j] - move(trajectory[i], noise[i], alpha, alpha_to)
        latents = move(latents, noise_pred, alpha, alpha_to) + residual
        yield RenderStep(step, len(indices), latents, x0)


def _start(
    content: Inversion,
    styles: Sequence[tuple[Inversion, float]],
    settings: FusionSettings,
    strength: float | Tensor,
    index: int,
    device: torch.device,
) -> Tensor:
    """The content's noise, moved toward the styles' channel statistics, varied by the seed."""
    latents = content.trajectory[index : index + 1].to(device)  # (1, channels, height, width)
    total = sum(weight for _, weight in styles)
    coloured = sum(
        adain(latents, style.trajectory[index : index + 1].to(device)) * (weight / total) for style, weight in styles
    )
    start = latents + settings.colour * strength * (coloured - latents)
    if settings.seed is None:
        return start
    generator = torch.Generator().manual_seed(settings.seed)
    fresh = torch.randn(latents.shape, generator=generator).to(device)
    share = VARIATION * torch.as_tensor(strength, device=device).clamp(max=1)
    return (1 - share**2).sqrt() * start + share * fresh


def adain(latents: Tensor, reference: Tensor) -> Tensor:
    """`latents` with the mean and deviation per channel of `reference` (Huang & Belongie, arXiv 1703.06868)."""
    dims = (2, 3)
    normalised = (latents - latents.mean(dims, keepdim=True)) / latents.std(dims, keepdim=True)
    return normalised * reference.std(dims, keepdim=True) + reference.mean(dims, keepdim=True)
