"""Renders for training: the method's own functions, with the pictures that features come from alive in the batch.

An engine stores features of content and style and fuses with them later. Here target, content and style are rows of one
batch, so that gradients reach the features as well. Both give the same latents.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor

from magicstyle_core.hooks import Fusing, fused_attention, installed, self_attention_layers
from magicstyle_core.layers import Layer, choose_layers
from magicstyle_core.method import Schedule, Step, Trajectory, clean, invert, render
from magicstyle_core.settings import FusionSettings

PRESET = FusionSettings()  # the embedded model's
CORRECTIONS = 2  # as the model has them; what ships learnt with one


class LiveFusion:
    """Self-attention over rows [targets, references]: each target attends by FFA to two of the references."""

    def __init__(self, layer: Layer, original: Any, how: Fusing, contents: Tensor, styles: Tensor) -> None:
        self.original, self.how, self.layer = original, how, layer
        self.contents, self.styles = contents, styles

    def __call__(self, attn: Attention, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        target, references = hidden_states.tensor_split([len(self.contents)])  # (pictures, tokens, channels)
        content, style = references[self.contents], references[self.styles]
        fused = fused_attention(attn, target, content, [style], self.how, self.layer)
        return torch.cat([fused, self.original(attn, references, *args, **kwargs)])


def fine_layers(unet: UNet2DConditionModel) -> list[Layer]:
    """The layers of the embedded model's preset."""
    return choose_layers(self_attention_layers(unet), PRESET.layers)


def fusing(
    strength: Tensor, settings: FusionSettings = PRESET, watch: Callable[[Tensor], object] | None = None
) -> Fusing:
    """How these settings fuse features of one style; their own strength does not count.

    Args:
        strength: a map over latents, as `Fusing` has it.
    """
    return Fusing(
        strength,
        temperature=settings.temperature,
        balance=settings.balance,
        neighbours=settings.neighbours,
        strokes=torch.full_like(strength[:1], settings.strokes),
        watch=watch,
    )


def noise_estimate(unet: UNet2DConditionModel, schedule: Schedule, latents: Tensor, timestep: int) -> Tensor:
    """The noise in latents (batch, channels, height, width) by a UNet of v prediction under a null prompt of zeros."""
    alpha = schedule.alphas[schedule.timesteps.index(timestep)]
    null_prompt = latents.new_zeros(len(latents), 1, unet.config.cross_attention_dim)
    v = unet(latents.contiguous(memory_format=torch.channels_last), timestep, null_prompt).sample
    return alpha.sqrt() * v + (1 - alpha).sqrt() * latents


@torch.no_grad()
def inverted(unet: UNet2DConditionModel, schedule: Schedule, latents: Tensor) -> Trajectory:
    """The inversion of clean latents (pictures, channels, height, width), each alone."""
    steps = invert(
        lambda latents, timestep: noise_estimate(unet, schedule, latents, timestep),
        latents,
        schedule,
        lambda _: nullcontext(),
        CORRECTIONS,
    )
    try:
        while True:
            next(steps)
    except StopIteration as done:
        trajectory: Trajectory = done.value
    return trajectory


def live_render(
    unet: UNet2DConditionModel,
    schedule: Schedule,
    known: Trajectory,
    contents: Tensor,
    styles: Tensor,
    how: Fusing,
    layers: Sequence[Layer],
    learn_at: Collection[int] = (),
) -> Iterator[tuple[Step, Tensor]]:
    """Renders contents in styles with FFA in some layers, no palette.

    Args:
        known: the inversions of pictures.
        contents, styles: for each render the places of its content and of its style among them, (renders,).
        learn_at: stored steps through which gradients flow.

    Yields:
        A step of the renders, and the clean latents that the same call foresees for the pictures,
        (pictures, channels, height, width).
    """
    references = known.latents[0]

    def together(latents: Tensor, timestep: int) -> Tensor:
        nonlocal references
        i = schedule.timesteps.index(timestep)
        rows = torch.cat([latents, known.latents[i]])  # (renders + pictures, channels, height, width)
        with torch.set_grad_enabled(i in learn_at):
            noise = noise_estimate(unet, schedule, rows, timestep)
            references = clean(known.latents[i], noise[len(latents) :], schedule.alphas[i])
        return noise[: len(latents)]

    own = Trajectory(known.latents[:, contents], known.noise[:, contents])
    descending = range(len(schedule.timesteps) - 1, -1, -1)
    processors = {
        layer.name: LiveFusion(layer, unet.get_submodule(layer.name).processor, how, contents, styles)
        for layer in layers
    }
    with installed(unet, processors):
        for step in render(together, own, schedule, descending, lambda _: nullcontext(), strength=how.strength):
            yield step, references
