"""The method on tensors, from top to bottom; it needs torch and `palette` alone.

    FFA   `feature_fusion_attention`   attention of the target over content and style features
    CSDI  `invert`                     a picture's latents up to noise; what the model saw on the way is kept
    FFF   `render`                     from the content's noise down to the result, with FFA around the model's calls

Write a(t) for sqrt(alphas_cumprod[t]) and s(t) for sqrt(1 - alphas_cumprod[t]). Latents at t are z = a(t) x0 + s(t) e,
with clean latents x0 and noise e. Both loops are functions of `denoise`, which gives e for (z, t); what happens inside
of the model during a call is the business of the context manager around it (see hooks.py). Latents are (batch,
channels, height, width) in fp32, and every row of a batch comes out as it would alone.

The two phases follow the abstract of MagicStyle (arXiv 2409.08156). Its equation for FFA is not public to us: this one
is ours, and StyleID, PortraitDiffusion and ZePo are settings of it (docs/method.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from magicstyle_core.palette import palette_shift, positions

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None, float], Tensor]  # query, key, value, bias, scale
Denoise = Callable[[Tensor, int], Tensor]  # latents, timestep -> estimate of the noise, as the latents
Around = Callable[[int], AbstractContextManager[object]]  # what surrounds the model's call at a stored step
Fusion = Literal["blend", "joint"]
PaletteMode = Literal["both", "end", "adain", "off"]

JOINT_LIMIT = 30.0  # |log-odds| at strength 0 and from 1 up; exp(-30) is below the rounding of fp32
ROUNDS = 5  # with ten a flat dark wall takes the mean of a whole painting, without its strokes (docs/method.md)
LEAST_ASKED = 1e-30  # by a query where strength is 0, near the least number of fp32: the logarithm stays finite
# Below the greatest exponent of a sum. A thousand times exp(-30) is below the rounding of fp32, and exp takes fifty
# times as long on a CPU where it underflows.
LEAST_EXPONENT = -30.0
KEYS_AT_ONCE = 256  # so that a copy of their logits stays in the cache: 9 ms for 2704 tokens, 13 ms with 512
VARIATION = 0.4  # share of the start's noise that a seed draws anew; by eye: another picture of the same person


# FFA


def sdpa(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """softmax(scale Q K' + bias) V by PyTorch's fused kernel, which wants one width; (batch, heads, tokens, dim)."""
    wide = F.pad(value, (0, query.shape[-1] - value.shape[-1]))
    return F.scaled_dot_product_attention(query, key, wide, attn_mask=bias, scale=scale)[..., : value.shape[-1]]


def feature_fusion_attention(
    query: Tensor,
    query_c: Tensor | None,
    key_c: Tensor | None,
    value_c: Tensor | None,
    key_s: Tensor,
    value_s: Tensor,
    *,
    strength: Tensor,
    structure: float,
    temperature: float = 1.0,
    balance: float = 0.0,
    fusion: Fusion = "blend",
    style_bias: Tensor | None = None,
    attend: Attend = sdpa,
    watch: Callable[[Tensor], object] | None = None,
) -> Tensor:
    """Attention of the target over content and style features.

        Q   = (1 - structure) query + structure query_c
        L_s = temperature Q K_s' / sqrt d + style_bias + balance log g,   g as `balanced_attention` has it
        O_c = softmax(Q K_c' / sqrt d) V_c
        O_s = softmax(L_s) V_s
        blend:  O_c + strength (O_s - O_c)
        joint:  one softmax over both key sets, the log-odds of strength added to the style's logits

    Args:
        query: (batch, heads, tokens, dim or more): all meet the style's keys, the first dim the content's.
        query_c: the same; None if structure is 0.
        key_c, value_c: (batch, heads, content_tokens, dim); None where a blend has
            strength 1 everywhere, as O_c cancels out.
        key_s, value_s: (batch, heads, style_tokens, as query and dim); several styles lie side by side.
        strength: (batch or 1, 1, tokens, 1), per query.
        balance: 0 = every query looks where it likes; 1 = all style tokens are looked at alike, so that rare colours
            and strokes arrive, too.
        style_bias: (style_tokens,), logarithms of weights; -inf, without balance, where nothing may be looked at.
        attend: the attention kernel; a blend with balance 1 has its own.
        watch: is given the shares of balanced attention, (batch, heads, tokens, style_tokens), detached.

    Returns:
        (batch, heads, tokens, dim).
    """
    if query_c is not None:
        query = query + structure * (query_c - query)  # (batch, heads, tokens, dim)
    scale = 1 / math.sqrt(dim := value_s.shape[-1])
    if balance:
        balanced, rarity = balanced_attention(
            query, key_s, value_s, style_bias, temperature * scale, strength=strength, watch=watch
        )
        style_bias = balance * rarity if style_bias is None else balance * rarity + style_bias
    if fusion == "joint":
        assert key_c is not None
        assert value_c is not None
        # Log-odds per query and bias per style key ride in two more channels, so it stays one fused call.
        log_odds = torch.logit(strength.float().clamp(0, 1)).clamp(-JOINT_LIMIT, JOINT_LIMIT)
        per_query = log_odds.to(query).expand_as(query[..., :1])  # (batch, heads, tokens, 1)
        bias = key_s.new_zeros(key_s.shape[2]) if style_bias is None else style_bias.to(key_s).clamp(min=-1e4)
        bias = bias[..., None].expand_as(key_s[..., :1])  # (batch, heads, style_tokens, 1)
        query = torch.cat([query * scale, per_query, torch.ones_like(per_query)], -1)  # (…, dim or more + 2)
        key_s = torch.cat([key_s * temperature, torch.ones_like(bias), bias], -1)
        key = torch.cat([F.pad(key_c, (0, key_s.shape[-1] - dim)), key_s], 2)  # (batch, heads, all tokens, …)
        return attend(query, key, torch.cat([value_c, value_s], 2), None, 1.0)
    if balance == 1:
        out_s = balanced
    else:
        mask = None
        if style_bias is not None:
            rows = style_bias.expand(*query.shape[:2], -1)[:, :, None]  # (batch, heads, 1, style_tokens)
            mask = rows.to(query).expand(-1, -1, query.shape[2], -1)  # (batch, heads, tokens, style_tokens)
        out_s = attend(query, key_s, value_s, mask, temperature * scale)
    if key_c is None or value_c is None:
        return out_s
    out_c = attend(query[..., :dim], key_c, value_c, None, scale)
    return out_c + strength.to(query) * (out_s - out_c)


def balanced_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    scale: float,
    *,
    strength: Tensor,
    watch: Callable[[Tensor], object] | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention in which all keys are looked at alike, by Sinkhorn's algorithm (Sander et al., Sinkformers, 2021).

        A = exp(scale Q K'),   w = exp(bias),   u = strength / A (w g),   g = 1 / A' u,   out = A (w g V) / A (w g)

    Rounds of u and g; the first has the strength for u. A query asks by its strength, so that where a mask keeps the
    photograph nothing is used up.

    Args:
        query, key, value, bias, strength, watch: as `feature_fusion_attention` has them.

    Returns:
        out, (batch, heads, tokens, dim), and log g but for a number added to all, (batch, heads, style_tokens).
    """
    asking = strength.float()[:, 0].clamp(LEAST_ASKED, 1)  # (batch or 1, tokens, 1)
    asking = asking / asking.amax(1, keepdim=True)
    weights = 1.0 if bias is None else bias.float().exp()[:, None]  # (style_tokens, 1)
    outs, rarities, shares = list[Tensor](), list[Tensor](), list[Tensor]()
    for q, k, v in zip(query.unbind(1), key.unbind(1), value.unbind(1), strict=True):  # all heads may be gigabytes
        logits = (scale * q @ k.mT).float()  # (batch, tokens, style_tokens)
        parts = []  # of the first round, in logarithms, as its numbers have no bounds
        for part in logits.split(KEYS_AT_ONCE, 2):
            asked = part + asking.log()
            greatest = asked.detach().amax(1, keepdim=True)
            parts.append((asked - greatest).clamp(min=LEAST_EXPONENT).exp().sum(1, keepdim=True).log() + greatest)
        first = torch.cat(parts, 2)  # (batch, 1, style_tokens)
        # In place: a copy takes as long as the product that made the logits.
        kernel = logits.sub_(first)
        kernel = kernel.sub_(kernel.detach().amax(2, keepdim=True)).clamp_(min=LEAST_EXPONENT).exp_()
        rarity = kernel.new_ones(len(kernel), kernel.shape[2], 1)  # g over that of the first round
        for _ in range(ROUNDS - 1):
            rarity = 1 / (kernel.mT @ (asking / (kernel @ (weights * rarity))))  # (batch, style_tokens, 1)
        gain = weights * rarity
        total = kernel @ gain  # (batch, tokens, 1)
        outs.append((kernel @ (gain * v.float()) / total).to(query))
        rarities.append((rarity.log() - first.mT)[..., 0])
        if watch is not None:
            shares.append((kernel * gain.mT / total).detach())
    if watch is not None:
        watch(torch.stack(shares, 1))
    log_g = torch.stack(rarities, 1)
    return torch.stack(outs, 1), log_g - log_g.mean(2, keepdim=True)


# Schedule and moves


class Schedule(NamedTuple):
    """The noise levels of the stored steps."""

    timesteps: tuple[int, ...]  # t_0 < ... < t_{T-1}
    alphas: Tensor  # alphas_cumprod at each of them, (T,)
    final_alpha: Tensor  # of the finished latents, ()


def ddim_timesteps(steps: int, t_max: int) -> tuple[int, ...]:
    """Ascending timesteps below t_max: leading spacing, offset 1, as diffusers' DDIMScheduler has them."""
    return tuple(1 + i * (t_max // steps) for i in range(steps))


def clean(latents: Tensor, noise_pred: Tensor, alpha: Tensor) -> Tensor:
    """The clean latents that latents and noise imply: x0 = (z - s e) / a. `alpha` is alphas_cumprod there."""
    return (latents - (1 - alpha).sqrt() * noise_pred) / alpha.sqrt()


def move(latents: Tensor, noise_pred: Tensor, alpha: Tensor, alpha_to: Tensor) -> Tensor:
    """One DDIM move (Song et al., arXiv 2010.02502, eta 0), up or down, with the same noise."""
    return alpha_to.sqrt() * clean(latents, noise_pred, alpha) + (1 - alpha_to).sqrt() * noise_pred


# CSDI


@dataclass(frozen=True)
class Trajectory:
    """What an inversion leaves beside its features, for a batch of pictures."""

    latents: Tensor  # z_0 ... z_{T-1}, (T, batch, channels, height, width)
    noise: Tensor  # the noise estimate at every (z_i, t_i), the same shape
    allowed: Tensor | None = None  # which part serves as a style, bool (height, width); None = all of it

    def to(self, device: torch.device) -> Trajectory:
        allowed = None if self.allowed is None else self.allowed.to(device)
        return Trajectory(self.latents.to(device), self.noise.to(device), allowed)


def invert(
    denoise: Denoise, latents: Tensor, schedule: Schedule, record: Around, corrections: int = 0
) -> Generator[int, None, Trajectory]:
    """Inverts clean latents z_0 (batch, channels, height, width) along the schedule. Yields the number of calls done.

    At each i the model sees (z_i, t_i), within `record(i)`; its noise estimate e_i moves z_i to z_{i+1}. Features and
    noise are so filed under the very point at which the way down will ask for them, and T calls serve everything.

    The way down will leave z_{i+1} with the estimate there. Each of the `corrections` moves z_i anew with that, a fixed
    point iteration of T - 1 calls (Pan et al., Accelerated Iterative Diffusion Inversion, 2023).
    """
    seen, noise, calls = list[Tensor](), list[Tensor](), count(1)
    for i, timestep in enumerate(schedule.timesteps):
        if i:
            below, levels = latents, schedule.alphas[i - 1 : i + 1]
            latents = move(below, noise[-1], *levels)
            for _ in range(corrections):
                latents = move(below, denoise(latents, timestep), *levels)
                yield next(calls)
        with record(i):
            noise.append(denoise(latents, timestep))
        seen.append(latents)
        yield next(calls)
    return Trajectory(torch.stack(seen), torch.stack(noise))


# FFF


@dataclass(frozen=True, eq=False)
class Step:
    """The state of a render after the model's call at one stored step."""

    index: int  # of the stored step
    latents: Tensor  # after the move, (batch, channels, height, width)
    denoised: Tensor  # the clean latents that this call foresees, the same shape; gradients flow through it


def subset(stored: int, count: int) -> list[int]:
    """`count` of the indices 0 .. stored - 1 in the order of a render: evenly spread, descending.

    Fewer than all leave out the lowest: there the model's output moves x0 by s(t) of itself, next to nothing.
    """
    if count >= stored:
        return list(range(stored - 1, -1, -1))
    return [round(x) for x in torch.linspace(stored - 1, 0, count + 1).tolist()[:-1]]


def way_down(index: int, stored: int) -> float:
    """Where on the way down a stored step lies, from 0 (noise) to 1."""
    return (stored - 1 - index) / max(stored - 1, 1)


def render(
    denoise: Denoise,
    content: Trajectory,
    schedule: Schedule,
    steps: Sequence[int],
    fuse: Around,
    *,
    strength: Tensor,
    styles: Sequence[tuple[Trajectory, float]] = (),
    palette: PaletteMode = "off",
    colour: float = 1.0,
    residual: float = 1.0,
    window: tuple[float, float] = (0.0, 1.0),
    seed: int | None = None,
    begin: Tensor | None = None,
) -> Iterator[Step]:
    """Denoises along the stored `steps` (descending), one call each, and ends at finished latents.

    After each move from step i to step j the content's own residual is added, r = z_j* - move(z_i*, e_i*), all of it
    stored. So without style every move lands on the content's trajectory, whatever the subset of steps. Where strength
    is 0 the content's latents are put back after each move, as convolutions carry the style past the edge of a mask.

    Args:
        fuse: surrounds the call at a stored step; only within `window`.
        strength: 0 = the content, 1 = the style, above = extrapolated; (batch or 1, 1, height, width).
        styles: trajectories and positive weights that sum to 1, for the palette, which comes from their `allowed` part.
        palette: whether the styles' palette is taken at the start and at the end ("both"), at the "end" alone, by AdaIN
            of the start's noise as StyleID does ("adain"), or not at all beside FFA ("off").
        colour: whose palette: 1 = the styles' (with "off" what FFA brings of it), 0 = the content's own.
        residual: share of the residual that stays at strength 1 and above; at strength 0 all of it is added.
        window: where on the way down FFA applies, both ends included.
        seed: draws a variation; None = the one deterministic result.
        begin: go on from these latents, before steps[0], instead of from the content's noise.

    Yields:
        One Step a call. The next step starts from values alone: no gradient flows from one step into another.
    """
    amount = strength.clamp(max=1)
    latents = _start(content, schedule, steps[0], amount, styles, palette, colour, seed) if begin is None else begin
    for i, j in pairwise([*steps, -1]):
        fused = window[0] <= way_down(i, len(schedule.timesteps)) <= window[1]
        with fuse(i) if fused else nullcontext():
            noise_pred = denoise(latents, schedule.timesteps[i])  # (batch, channels, height, width)
        alpha, alpha_to = schedule.alphas[i], schedule.alphas[j] if j >= 0 else schedule.final_alpha
        denoised = clean(latents, noise_pred, alpha)
        target = content.latents[max(j, 0)]
        lost = target - move(content.latents[i], content.noise[i], alpha, alpha_to)
        latents = move(latents, noise_pred.detach(), alpha, alpha_to) + (1 - (1 - residual) * amount) * lost
        if j < 0 and palette != "adain":
            by_palette = () if palette == "off" else styles
            latents = latents + amount * mixed_shift(latents, content, by_palette, colour)
        latents = torch.where(strength == 0, target, latents)
        yield Step(i, latents, denoised)


def _start(
    content: Trajectory,
    schedule: Schedule,
    index: int,
    amount: Tensor,
    styles: Sequence[tuple[Trajectory, float]],
    palette: PaletteMode,
    colour: float,
    seed: int | None,
) -> Tensor:
    """The content's latents at a stored step, as they would be had the content the palette."""
    latents = content.latents[index]
    if palette == "both":
        shift = mixed_shift(content.latents[0], content, styles, colour)
        latents = latents + schedule.alphas[index].sqrt() * amount * shift
    elif palette == "adain":
        deviation, mean = torch.std_mean(latents, (2, 3), keepdim=True)  # (batch, channels, 1, 1)
        normal = (latents - mean) / deviation
        for style, weight in styles:
            part = positions(style.latents[index], style.allowed)  # (batch, channels, positions)
            deviation_s, mean_s = (m[..., None] for m in torch.std_mean(part, 2, keepdim=True))
            latents = latents + colour * amount * weight * (normal * deviation_s + mean_s - content.latents[index])
    if seed is not None:
        fresh = torch.randn(latents[:1].shape, generator=torch.Generator().manual_seed(seed)).to(latents)
        share = VARIATION * amount
        anew = ((1 - share.square()).sqrt() - 1) * content.noise[index] + share * fresh
        latents = latents + (1 - schedule.alphas[index]).sqrt() * anew  # the picture in them stays as it is
    return latents


def mixed_shift(
    latents: Tensor, content: Trajectory, styles: Sequence[tuple[Trajectory, float]], colour: float
) -> Tensor:
    """What clean latents need for the palette colour * styles + (1 - colour) * content: their shape."""
    parts = [(style.latents[0], style.allowed, colour * weight) for style, weight in styles]
    shift = torch.zeros_like(latents)
    for palette, allowed, share in [*parts, (content.latents[0], None, 1 - colour)]:
        if share:
            shift = shift + share * palette_shift(latents, palette, allowed)
    return shift
