"""FFF: denoising from the content's noise, with FFA in the chosen layers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from magicstyle_core.attention import Features, FusionInputs, Layer, fusing
from magicstyle_core.backbone import Backbone
from magicstyle_core.features import Inversion
from magicstyle_core.schedule import move, predict_x0
from magicstyle_core.settings import FusionSettings

VARIATION = 0.4  # share of the start latent's norm that a seed replaces at strength 1
PALETTE_BLUR = 3  # latents; a palette is the distribution of latents smoothed over this square
PALETTE_EDGE = 0.5  # of the mean variance; a square that varies by more keeps its edges
PALETTE_FLOOR = 0.1  # of the mean variance, added to every direction: it limits the gain of faint colours


@dataclass(frozen=True)
class RenderStep:
    """The state after one step."""

    step: int  # steps done, 1 .. total
    total: int
    latents: Tensor  # (1, channels, height, width), fp32
    foreseen: Callable[[], Tensor]  # gives the clean latents as foreseen at this step, same shape, for a preview
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

    The palette is taken at both ends: the render begins as if the content were recoloured already, and the result is
    recoloured once more, by what FFA has left over. Both go by `colour` and by strength up to 1.

    Args:
        features: gives the layer inputs of an inversion at a stored step.
        strength: settings.strength, or a map of it, (1, 1, latent_height, latent_width).
        known: latents of earlier renders by their history; this one goes on from the furthest it finds.
    """
    device = backbone.device
    trajectory, noise = content.trajectory.to(device), content.noise.to(device)  # (T, channels, height, width)
    weights = [weight for _, weight in styles]
    palettes = [(style.trajectory[:1].to(device), weight / sum(weights)) for style, weight in styles]
    colour = settings.colour * at_most_one(strength)
    fused = [_is_fused(settings, strength, 1 - i / (content.steps - 1)) for i in indices]
    history = _history(content, styles, settings, layers, indices, strength, fused)
    done = next((n for n in range(len(indices), 0, -1) if history[n] in known), 0)
    if done:
        latents = known[history[done]].to(device)
        yield RenderStep(done, len(indices), latents, latents.clone, history[done], reused=True)
    else:
        latents = start_latents(backbone, content, styles, settings, strength, indices[0])
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
        foreseen = partial(_recoloured, predict_x0(latents, noise_pred, alpha), palettes, colour)
        residual = trajectory[j] - move(trajectory[i], noise[i], alpha, alpha_to)
        latents = move(latents, noise_pred, alpha, alpha_to) + residual
        if last:
            latents = _recoloured(latents, palettes, colour)
        if isinstance(strength, Tensor):  # convolutions carry style past the mask's edge; content stays there
            latents = torch.where(strength == 0, trajectory[j], latents)
        yield RenderStep(n + 1, len(indices), latents, foreseen, history[n + 1], reused=False)


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
    restyled = amount != 0 and settings.colour > 0
    varied = settings.seed is not None and amount != 0
    start = (
        content.session,
        content.key,
        (settings.colour, amount, references) if restyled else None,
        (settings.seed, amount) if varied else None,
    )
    digest = hashlib.sha256(repr(start).encode())
    history = [digest.hexdigest()]
    for n, i in enumerate(indices):
        digest.update(repr((indices[n : n + 2], i, fusion if fused[n] else None)).encode())
        history.append(digest.hexdigest())
    return history


def start_latents(
    backbone: Backbone,
    content: Inversion,
    styles: Sequence[tuple[Inversion, float]],
    settings: FusionSettings,
    strength: float | Tensor,
    index: int,
) -> Tensor:
    """What a render begins at: (1, channels, height, width).

    The content's latents at that stored step, moved as its trajectory would move if the content had the styles'
    palette; a seed replaces a share by fresh noise.
    """
    device = backbone.device
    amount = at_most_one(strength)
    latents = content.trajectory[index : index + 1].to(device)  # (1, channels, height, width)
    total = sum(weight for _, weight in styles)
    palettes = [(style.trajectory[:1].to(device), weight / total) for style, weight in styles]
    alpha = backbone.alpha_cumprod(content.timesteps[index])
    shift = alpha.sqrt() * settings.colour * amount * palette_shift(content.trajectory[:1].to(device), palettes)
    latents = latents + shift
    if settings.seed is None:
        return latents
    fresh = torch.randn(latents.shape, generator=torch.Generator().manual_seed(settings.seed)).to(device)
    share = VARIATION * amount
    return (1 - share**2) ** 0.5 * latents + share * fresh


def at_most_one(strength: float | Tensor) -> float | Tensor:
    return strength.clamp(max=1) if isinstance(strength, Tensor) else min(strength, 1.0)


def palette_shift(latents: Tensor, palettes: Sequence[tuple[Tensor, float]]) -> Tensor:
    """What has to be added to clean latents (1, channels, height, width) for them to take the palettes.

    The distribution of the smoothed latents is mapped onto that of each palette's by the linear Monge-Kantorovich
    map (Pitié & Kokaram, The Linear Monge-Kantorovitch Linear Colour Mapping, 2007), detail stays as it is:

        shift = sum of weight * ((M - 1) (x - mean) + mean_s - mean),  x the smoothed latents,
        M = A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2,  A and B the covariances of x and of the palette.

    Args:
        palettes: clean latents (1, channels, any height, any width) and weights that sum to 1.
    """
    smooth = smoothed(latents)
    mean, covariance = _statistics(smooth)
    root, inverse_root = _matrix_power(covariance, 0.5), _matrix_power(covariance, -0.5)
    shift = torch.zeros_like(latents)
    for palette, weight in palettes:
        mean_s, covariance_s = _statistics(smoothed(palette))
        transport = inverse_root @ _matrix_power(root @ covariance_s @ root, 0.5) @ inverse_root  # (channels, channels)
        gain = (transport - torch.eye(len(transport))).to(latents)
        offset = (mean_s - mean).to(latents).view(1, -1, 1, 1)
        centred = smooth - mean.to(latents).view(1, -1, 1, 1)
        shift = shift + weight * (torch.einsum("dc,bchw->bdhw", gain, centred) + offset)
    return shift


def _recoloured(latents: Tensor, palettes: Sequence[tuple[Tensor, float]], colour: float | Tensor) -> Tensor:
    return latents + colour * palette_shift(latents, palettes)


def smoothed(latents: Tensor) -> Tensor:
    """Without detail but with edges, across which colours would otherwise leave halos: the same shape.

    A guided filter (He, Sun & Tang, Guided Image Filtering, 2013) that guides itself, all channels by one share:

        mean(a) x + mean((1 - a) mean(x)),  a = v / (v + PALETTE_EDGE * v_all),  v the variance around a position
    """
    mean = _mean_around(latents)
    variance = (_mean_around(latents.square()) - mean.square()).mean(1, keepdim=True)  # (1, 1, height, width)
    whole = latents.var((2, 3), correction=0).mean()
    share = variance / (variance + PALETTE_EDGE * whole + 1e-12)
    return _mean_around(share) * latents + _mean_around((1 - share) * mean)


def _mean_around(latents: Tensor) -> Tensor:
    """The mean over a square around every position, without what lies outside."""
    return F.avg_pool2d(latents, PALETTE_BLUR, 1, PALETTE_BLUR // 2, count_include_pad=False)


def _statistics(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (channels,) and covariance (channels, channels) over all positions, in double precision on the CPU."""
    positions = latents[0].flatten(1).cpu().double()  # (channels, positions)
    covariance = torch.cov(positions, correction=0)
    floor = PALETTE_FLOOR * covariance.diagonal().mean() + 1e-6
    return positions.mean(1), covariance + floor * torch.eye(len(covariance))


def _matrix_power(symmetric: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(symmetric)
    return (vectors * values.clamp(min=1e-12) ** exponent) @ vectors.T
