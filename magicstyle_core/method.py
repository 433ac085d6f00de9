"""The two phases of the method on tensors, from top to bottom; they need torch and `palette` alone.

    CSDI  `invert`   a picture's latents up to noise; what the model saw on the way is kept
    FFF   `render`   from the content's noise down to the result, with FFA (attention.py) around the model's calls

Write a(t) for sqrt(alphas_cumprod[t]) and s(t) for sqrt(1 - alphas_cumprod[t]). Latents at t are z = a(t) x0 + s(t) e,
with clean latents x0 and noise e. Both loops are functions of `denoise`, which gives e for (z, t); what happens inside
of the model during a call is the business of the context manager around it (see hooks.py). Latents are (batch,
channels, height, width) in fp32, and every row of a batch comes out as it would alone. The two phases follow the
abstract of MagicStyle (arXiv 2409.08156).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from magicstyle_core.palette import palette_shift, positions

Denoise = Callable[[Tensor, int], Tensor]  # latents, timestep -> estimate of the noise, as the latents
Around = Callable[[int], AbstractContextManager[object]]  # what surrounds the model's call at a stored step
PaletteMode = Literal["both", "end", "adain", "off"]

# By measurement: on mini a correction overshoots by about two thirds of its way. One, relaxed by .5, .6, .7, .8 and 1,
# brings the astronaut back at 27.2, 27.7, 27.5, 26.4 and 23.6 dB; the autoencoder alone has 27.9.
RELAXATION = 0.6
VARIATION = 0.4  # share of the start's noise that a seed draws anew; by eye: another picture of the same person


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

    The way down will leave z_{i+1} with the estimate there. Each of the `corrections` takes it RELAXATION of the way to
    where that estimate moves z_i: a fixed point iteration (Pan et al., Accelerated Iterative Diffusion Inversion,
    2023), under-relaxed, of T - 1 calls.
    """
    seen, noise, calls = list[Tensor](), list[Tensor](), count(1)
    for i, timestep in enumerate(schedule.timesteps):
        if i:
            below, levels = latents, schedule.alphas[i - 1 : i + 1]
            latents = move(below, noise[-1], *levels)
            for _ in range(corrections):
                latents = torch.lerp(latents, move(below, denoise(latents, timestep), *levels), RELAXATION)
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
        colour: share of the palette that is taken.
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
        if j < 0 and palette in ("both", "end"):
            latents = latents + amount * mixed_shift(latents, styles, colour)
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
        shift = mixed_shift(content.latents[0], styles, colour)
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


def mixed_shift(latents: Tensor, styles: Sequence[tuple[Trajectory, float]], colour: float) -> Tensor:
    """What clean latents need for `colour` of the way to the styles' palette: their shape."""
    shift = torch.zeros_like(latents)
    for style, weight in styles:
        shift = shift + colour * weight * palette_shift(latents, style.latents[0], style.allowed)
    return shift
