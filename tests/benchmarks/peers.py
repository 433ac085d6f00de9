"""What the relatives of this method do, on the same model, to measure against.

Both are written here after what their public code does, and are generous to it: where that code computes
something twice (StyleID's port runs the usual attention and then its own), it is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import Tensor

from magicstyle_core import FusionSettings, Inversion
from magicstyle_core.attention import Attend, feature_fusion_attention, sdpa
from magicstyle_core.hooks import Fusing, installed, per_query
from magicstyle_core.method import Trajectory, clean, invert, render, subset
from magicstyle_core.model import Model

Projections = tuple[Tensor, Tensor, Tensor]  # query, key, value: (batch, heads, tokens, dim)


def _heads(attn: Attention, projected: Tensor) -> Tensor:
    return projected.unflatten(-1, (attn.heads, -1)).transpose(1, 2)  # (batch, heads, tokens, dim)


def _projections(attn: Attention, hidden_states: Tensor) -> Projections:
    query, key, value = (_heads(attn, project(hidden_states)) for project in (attn.to_q, attn.to_k, attn.to_v))
    return query, key, value


def _output(attn: Attention, attended: Tensor) -> Tensor:
    return attn.to_out[1](attn.to_out[0](attended.transpose(1, 2).flatten(2)))  # (batch, tokens, channels)


def _explicit(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """Attention that writes its probabilities, (batch, heads, tokens, tokens), to memory."""
    scores = scale * query @ key.mT
    return (scores if bias is None else scores + bias).softmax(-1) @ value


@dataclass
class _KeepProjections:
    """Plain attention by PyTorch's fused kernel that keeps Q, K and V in fp32."""

    kept: list[Projections] = field(default_factory=list)  # one per step

    def __call__(self, attn: Attention, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        query, key, value = _projections(attn, hidden_states)
        self.kept.append((query.float(), key.float(), value.float()))
        return _output(attn, sdpa(query, key, value, None, query.shape[-1] ** -0.5))


@dataclass
class _Substitute:
    """Attention with explicit probabilities, of a blended query over the style's key and value."""

    content: Projections
    style: Projections
    settings: FusionSettings

    def __call__(self, attn: Attention, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        query = _heads(attn, attn.to_q(hidden_states))
        query_c, key_s, value_s = (tensor.to(query) for tensor in (self.content[0], *self.style[1:]))
        query = query + self.settings.structure * (query_c - query)
        scale = self.settings.temperature * query.shape[-1] ** -0.5
        return _output(attn, _explicit(query, key_s, value_s, None, scale))


class PlainRecipe:
    """A first result as StyleID's diffusers port makes it.

    Content and style are inverted one after the other. Q, K and V of every layer in which our FFA acts are kept in
    fp32, for both pictures at every step. The render starts from the content's noise under AdaIN, and attends with a
    blend of its own and the content's query to the style's key and value, by explicit probabilities. The full VAE
    decodes after every step of all three.
    """

    def __init__(self, model: Model, steps: int, settings: FusionSettings) -> None:
        self.model, self.settings = model, settings
        self.schedule = model.schedule(steps)
        self.nbytes = 0  # of Q, K and V of one picture, after a call

    @torch.no_grad()
    def __call__(self, content: Tensor, style: Tensor) -> Tensor:
        """Pixels of content and style (1, 3, height, width) to pixels of the same shape."""
        trajectory_c, kept_c = self._invert(content)
        trajectory_s, kept_s = self._invert(style)
        self.nbytes = sum(tensor.nbytes for steps in kept_c.values() for step in steps for tensor in step)

        @contextmanager
        def substituting(i: int) -> Iterator[None]:
            processors = {name: _Substitute(kept_c[name][i], kept_s[name][i], self.settings) for name in kept_c}
            with installed(self.model.unet, processors):
                yield

        descending = range(len(self.schedule.timesteps) - 1, -1, -1)
        everywhere = torch.ones(1, 1, 1, 1, device=self.model.device)
        for step in render(
            self.model.denoise, trajectory_c, self.schedule, descending, substituting,
            strength=everywhere, styles=[(trajectory_s, 1.0)], palette="adain", colour=self.settings.colour, residual=0,
        ):  # fmt: skip
            pixels = self.model.decode(step.denoised)
        return pixels

    def _invert(self, pixels: Tensor) -> tuple[Trajectory, dict[str, list[Projections]]]:
        processors = {layer.name: _KeepProjections() for layer in self.model.layers}
        alphas = dict(zip(self.schedule.timesteps, self.schedule.alphas, strict=True))

        def denoise_and_decode(latents: Tensor, timestep: int) -> Tensor:
            noise_pred = self.model.denoise(latents, timestep)
            self.model.decode(clean(latents, noise_pred, alphas[timestep]))
            return noise_pred

        with installed(self.model.unet, processors):
            trajectory = _returned(invert(denoise_and_decode, self.model.encode(pixels), self.schedule, nullcontext))
        return trajectory, {name: processor.kept for name, processor in processors.items()}


def _returned(steps: Generator[int, None, Trajectory]) -> Trajectory:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


@dataclass
class _ThreeRows:
    """Rows content, style, target: the first two attend to themselves, the target by FFA to both."""

    how: Fusing
    strength: Tensor  # per query of the layer, (1, 1, tokens, 1)

    def __call__(self, attn: Attention, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        query, key, value = _projections(attn, hidden_states)
        references = self.how.attend(query[:2], key[:2], value[:2], None, query.shape[-1] ** -0.5)
        blends = bool((self.strength != 1).any())
        target = feature_fusion_attention(
            query[2:],
            query[:1],
            key[:1] if blends else None,
            value[:1] if blends else None,
            key[1:2],
            value[1:2],
            strength=self.strength,
            structure=self.how.structure,
            temperature=self.how.temperature,
            attend=self.how.attend,
        )
        return _output(attn, torch.cat([references, target]))


@torch.no_grad()
def three_branches(
    model: Model, content: Inversion, style: Inversion, settings: FusionSettings, *, as_published: bool
) -> Tensor:
    """A re-render without a feature bank, as PortraitDiffusion makes every one: pixels (1, 3, height, width).

    Only the latents of both inversions are kept; at every step they run beside the target in one batch. All else is
    ours, so that the picture is the same and nothing but the storage differs. `as_published` adds what the public
    code does besides: every attention layer computes explicit probabilities, and all three rows are decoded.
    Counts three UNet calls a step. Leaves out `finished`, so settings without `detail` give the same picture.
    """
    trajectory, trajectory_s = (source.trajectory.to(model.device) for source in (content, style))
    height, width = content.picture.pixels.shape[:2]
    strength = model.strength_map(torch.full((1, 1, height, width), settings.strength))
    attend: Attend = _explicit if as_published else sdpa
    how = Fusing(strength, settings.structure, settings.temperature, attend=attend)
    processors: dict[str, Callable[..., Tensor]] = {
        layer.name: _ThreeRows(how, per_query(layer, strength).to(model.device, model.dtype)) for layer in model.layers
    }
    if as_published:
        processors |= {name.replace("attn1", "attn2"): AttnProcessor() for name in processors}

    def denoise_three(latents: Tensor, timestep: int) -> Tensor:
        i = content.timesteps.index(timestep)
        rows = torch.cat([trajectory.latents[i], trajectory_s.latents[i], latents])  # (3, channels, h, w)
        model.unet_calls += 2  # beside the one that it counts itself
        return model.denoise(rows, timestep)[2:]

    with installed(model.unet, processors):
        *_, last = render(
            denoise_three, trajectory, model.schedule(content.steps), subset(content.steps, content.steps), nullcontext,
            strength=strength, styles=[(trajectory_s, 1.0)], palette=settings.palette, colour=settings.colour,
            residual=settings.residual,
        )  # fmt: skip
    references = [trajectory.latents[0], trajectory_s.latents[0]] if as_published else []
    return model.decode(torch.cat([*references, last.latents]))[-1:].cpu()
