"""FFF: denoising from the content's noise, with FFA in the chosen layers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """The state after one step."""

    step: int  # steps done, 1 .. total
    total: int
    latents: Tensor  # (1, channels, height, width), fp32
    x0: Tensor  # the clean latents as foreseen at this step, same shape
    history: str  # digest of all that led to these latents
    reused: bool  # from an earlier render, without a UNet call


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
    known: Mapping[str, Tensor],
) -> Iterator[RenderStep]:
    """Denoises along the stored steps `indices` (descending, ending at 0), one UNet call each.

    After every move the content's own residual r = z_j* - move(z_i*, e_i*) is added, from stored latents
    alone. Without style every step therefore lands on the content's trajectory, for any subset of steps.

    Args:
        features: gives the layer inputs of an inversion at a stored step.
        strength: settings.strength, or a map of it, (1, 1, latent_height, latent_width).
        known: latents of earlier renders by their history; this one goes on from the furthest it finds.
    """
    device = backbone.device
    trajectory, noise = content.trajectory.to(device), content.noise.to(device)  # (T, channels, height, width)
    weights = [weight for _, weight in styles]
    fused = [_is_fused(settings, strength, 1 - i / (content.steps - 1)) for i in indices]
    history = _history(content, styles, settings, layers, indices, strength, fused)
    done = next((n for n in range(len(indices), 0, -1) if history[n] in known), 0)
    if done:
        latents = known[history[done]].to(device)
        yield RenderStep(done, len(indices), latents, latents, history[done], reused=True)
    else:
        latents = _start(content, styles, settings, strength, indices[0], device)
    for n, i in enumerate(indices[done:], done):
        if fused[n]:
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
            attention: AbstractContextManager[None] = fusing(
                backbone.unet, layers, inputs, (latents.shape[2], latents.shape[3])
            )
        else:
            attention = nullcontext()
        with backbone.lock, attention:
            noise_pred = backbone.noise_pred(latents, content.timesteps[i])  # (1, channels, height, width)
        alpha = backbone.alpha_cumprod(content.timesteps[i])
        last = n + 1 == len(indices)
        j = 0 if last else indices[n + 1]
        alpha_to = backbone.final_alpha_cumprod if last else backbone.alpha_cumprod(content.timesteps[j])
        x0 = predict_x0(latents, noise_pred, alpha)
        residual = trajectory[j] - move(trajectory[i], noise[i], alpha, alpha_to)
        latents = move(latents, noise_pred, alpha, alpha_to) + residual
        if isinstance(strength, Tensor):  # convolutions carry style past the mask's edge; content stays there
            latents = torch.where(strength == 0, trajectory[j], latents)
        yield RenderStep(n + 1, len(indices), latents, x0, history[n + 1], reused=False)


def _is_fused(settings: FusionSettings, strength: float | Tensor, way_down: float) -> bool:
    off = not isinstance(strength, Tensor) and strength == 0
    return not off and settings.start <= way_down <= settings.end


def _history(
    content: Inversion,
    styles: Sequence[tuple[Inversion, float]],
    settings: FusionSettings,
    layers: Sequence[Layer],
    indices: Sequence[int],
    strength: float | Tensor,
    fused: Sequence[bool],
) -> list[str]:
    """What led to the latents before the first step and after each one, as digests: one more than indices.

    Two renders whose settings differ only from some step on share the digests up to there.
    """
    amount = strength.cpu().numpy().tobytes() if isinstance(strength, Tensor) else strength
    references = [(style.key, weight) for style, weight in styles]
    fusion = (amount, references, settings.structure, settings.temperature, settings.fusion, [y.name for y in layers])
    recoloured = settings.colour > 0 and amount != 0
    varied = settings.seed is not None and amount != 0
    start = (
        content.session,
        content.key,
        (settings.colour, amount, references) if recoloured else None,
        (settings.seed, amount) if varied else None,
    )
    digest = hashlib.sha256(repr(start).encode())
    history = [digest.hexdigest()]
    for n, i in enumerate(indices):
        digest.update(repr((indices[n : n + 2], i, fusion if fused[n] else None)).encode())
        history.append(digest.hexdigest())
    return history


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
