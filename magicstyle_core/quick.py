"""Quick mode: what takes the place of inversion for consistency models, which draw in few steps (LCM, LCM-LoRA).

After ZePo (arXiv 2408.05492): each picture is noised once to a small timestep, and one call there gives its features
for all steps; the render starts from the photograph noised to half of all timesteps. With two pictures and four steps
that makes 2 + 4 UNet calls. The stored trajectory is the picture under one and the same noise at every level, so
`method.render` runs on it as it is, and its residual is zero. With the model's own noise estimates in that
trajectory (`with_estimates`, four calls more) the residual pulls a render of little strength onto the photograph.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from magicstyle_core.method import Around, Denoise, Schedule, Trajectory, way_down

if TYPE_CHECKING:
    from magicstyle_core.plan import Plan
    from magicstyle_core.store import FeatureStore

STEPS = 5  # the finished latents and ZePo's four
SPACING = 50  # steps that consistency models are distilled on, over all timesteps (LCM, arXiv 2310.04378)
STRENGTH = 0.5  # share of the timesteps that a render starts at; ZePo's
REFERENCE = 99  # timestep whose features serve for all; ZePo's
SEED = 0  # of the noise; every picture gets the same


def timesteps(steps: int, t_max: int) -> tuple[int, ...]:
    """1 for the finished latents, then ascending those that LCM's scheduler visits from half of the noise on.

    Four beside the first are 139, 259, 379 and 499.
    """
    spacing = t_max // SPACING
    visited = [spacing * (i + 1) - 1 for i in range(int(STRENGTH * SPACING))]
    count = steps - 1
    return (1, *(visited[len(visited) - 1 - len(visited) * i // count] for i in reversed(range(count))))


def noised(latents: Tensor, alpha: Tensor) -> Tensor:
    """Clean latents (batch, channels, height, width) at that alphas_cumprod, under the one noise."""
    noise = torch.randn(latents[:1].shape, generator=torch.Generator().manual_seed(SEED)).to(latents)
    return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise


def invert(
    denoise: Denoise, latents: Tensor, schedule: Schedule, record: Around, alpha: Tensor
) -> Generator[int, None, Trajectory]:
    """In place of `method.invert`: one call, whose features are recorded for every stored step.

    Args:
        alpha: alphas_cumprod at REFERENCE.
    """
    with ExitStack() as stack:
        for i in range(len(schedule.timesteps)):
            stack.enter_context(record(i))
        denoise(noised(latents, alpha), REFERENCE)
    seen = torch.stack([latents, *(noised(latents, alpha) for alpha in schedule.alphas[1:])])
    noise = noised(torch.zeros_like(latents), torch.zeros_like(alpha))  # (batch, channels, height, width)
    yield len(schedule.timesteps)
    return Trajectory(seen, noise.expand_as(seen))


def with_estimates(
    denoise: Denoise, still: Around, trajectory: Trajectory, wish: Plan, store: FeatureStore
) -> tuple[Trajectory, int]:
    """The content's trajectory with the model's own noise estimates, and the calls that took.

    Made once for the same layers, structure and window; the store remembers them.

    Args:
        still: surrounds a call at a stored step, with FFA at strength 0: features of REFERENCE take part in it.
    """
    content, settings, calls = wish.content, wish.settings, 0
    how = ([layer.name for layer in wish.layers], settings.structure, settings.start, settings.end)
    key = f"estimates-{content.key}-{how}"
    noise = store.remembered(content.session, key)
    if noise is None:
        own = [trajectory.noise[0]]  # of the finished latents, where no call is made
        for i in range(1, content.steps):
            fused = settings.start <= way_down(i, content.steps) <= settings.end
            with still(i) if fused else nullcontext():
                own.append(denoise(trajectory.latents[i], content.timesteps[i]))
            calls += 1
        noise = torch.stack(own)
        store.remember(content.session, key, noise.cpu())
    return Trajectory(trajectory.latents, noise.to(trajectory.latents)), calls
