"""Renders for training: the method's own functions, with the pictures that features come from alive in the batch.

An engine stores features of content and style and fuses with them later. Here target, content and style are rows of one
batch, so that gradients reach the features as well. Both give the same latents.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor

from magicstyle_core.hooks import Fusing, fused_attention, installed, self_attention_layers
from magicstyle_core.layers import Layer
from magicstyle_core.method import Schedule, Step, Trajectory, clean, invert, render


class LiveFusion:
    """Self-attention over rows [targets, references]: each target attends by FFA to two of the references."""

    def __init__(self, layer: Layer, original: Any, how: Fusing, contents: Tensor, styles: Tensor) -> None:
        self.original, self.how, self.strength = original, how, how.at(layer)
        self.contents, self.styles = contents, styles

    def __call__(self, attn: Attention, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        target, references = hidden_states.tensor_split([len(self.contents)])  # (pictures, tokens, channels)
        content, style = references[self.contents], references[self.styles]
        fused = fused_attention(attn, target, content, [style], self.how, self.strength)
        return torch.cat([fused, self.original(attn, references, *args, **kwargs)])


def live_fusion(
    unet: UNet2DConditionModel, how: Fusing, contents: Tensor, styles: Tensor
) -> AbstractContextManager[None]:
    """Within the block every self-attention layer takes rows [targets, references].

    Args:
        contents, styles: for each target the places of its content and of its style among the references, (targets,).
    """
    processors = {
        layer.name: LiveFusion(layer, unet.get_submodule(layer.name).processor, how, contents, styles)
        for layer in self_attention_layers(unet)
    }
    return installed(unet, processors)


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
    )
    try:
        while True:
            next(steps)
    except StopIteration as done:
        trajectory: Trajectory = done.value
    return trajectory


def live_render(
    unet: UNet2DConditionModel, schedule: Schedule, known: Trajectory, how: Fusing, learn_at: Collection[int] = ()
) -> Iterator[tuple[Step, Tensor]]:
    """Renders contents in styles with FFA in every layer, no palette.

    Args:
        known: the inversions of contents, then of as many styles.
        learn_at: stored steps through which gradients flow.

    Yields:
        A step of the render, and the clean latents that the same call foresees for contents and styles,
        (2 * examples, channels, height, width).
    """
    examples = known.latents.shape[1] // 2
    references = known.latents[0]

    def together(latents: Tensor, timestep: int) -> Tensor:
        nonlocal references
        i = schedule.timesteps.index(timestep)
        rows = torch.cat([latents, known.latents[i]])  # (3 * examples, channels, height, width)
        with torch.set_grad_enabled(i in learn_at):
            noise = noise_estimate(unet, schedule, rows, timestep)
            references = clean(rows[examples:], noise[examples:], schedule.alphas[i])
        return noise[:examples]

    contents = Trajectory(known.latents[:, :examples], known.noise[:, :examples])
    descending = range(len(schedule.timesteps) - 1, -1, -1)
    places = torch.arange(examples, device=references.device)
    with live_fusion(unet, how, places, examples + places):
        for step in render(together, contents, schedule, descending, lambda _: nullcontext(), strength=how.strength):
            yield step, references
