"""What the relatives of this method do, on the same backbone, to measure against.

Both are written here after what their public code does, and are generous to it: where that code computes
something twice (StyleID's port runs the usual attention and then its own), it is computed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import Tensor

from magicstyle_core import FusionSettings, Inversion
from magicstyle_core.attention import Attend, feature_fusion_attention, sdpa
from magicstyle_core.backbone import Backbone
from magicstyle_core.detail import detailed
from magicstyle_core.margin import without_margin
from magicstyle_core.rendering import palette_shift, start_latents
from magicstyle_core.schedule import ddim_timesteps, move, predict_x0, to_noise_pred

Projections = tuple[Tensor, Tensor, Tensor]  # query, key, value: (batch, heads, tokens, dim)


def _projections(attn: Attention, hidden_states: Tensor) -> Projections:
    query, key, value = (
        project(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        for project in (attn.to_q, attn.to_k, attn.to_v)
    )
    return query, key, value


def _adain(latents: Tensor, reference: Tensor) -> Tensor:
    """`latents` with the mean and deviation per channel of `reference` (Huang & Belongie, arXiv 1703.06868)."""
    dims = (2, 3)
    normalised = (latents - latents.mean(dims, keepdim=True)) / latents.std(dims, keepdim=True)
    return normalised * reference.std(dims, keepdim=True) + reference.mean(dims, keepdim=True)


def _explicit(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """Attention that writes its probabilities, (batch, heads, tokens, tokens), to memory."""
    scores = scale * query @ key.mT
    return (scores if bias is None else scores + bias).softmax(-1) @ value


def _output(attn: Attention, attended: Tensor) -> Tensor:
    return attn.to_out[1](attn.to_out[0](attended.transpose(1, 2).flatten(2)))  # (batch, tokens, channels)


@contextmanager
def _self_attention(backbone: Backbone, processors: Mapping[str, object]) -> Iterator[None]:
    before = backbone.unet.attn_processors
    installed = {f"{name}.processor": processor for name, processor in processors.items()}
    backbone.unet.set_attn_processor(before | installed)
    try:
        yield
    finally:
        backbone.unet.set_attn_processor(before)


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
        query = attn.to_q(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)  # (1, heads, tokens, dim)
        query_c, key_s, value_s = (tensor.to(query) for tensor in (self.content[0], *self.style[1:]))
        query = query + self.settings.structure * (query_c - query)
        scale = self.settings.temperature * query.shape[-1] ** -0.5
        return _output(attn, _explicit(query, key_s, value_s, None, scale))


class PlainRecipe:
    """A first result as StyleID's diffusers port makes it.

    Content and style are inverted one after the other. Q, K and V of every layer in which our FFA acts are kept in
    fp32, for both images at every step. The render attends with a blend of its own and the content's query to the
    style's key and value, by explicit probabilities. The full VAE decodes after every step of all three.
    """

    def __init__(self, backbone: Backbone, steps: int, settings: FusionSettings) -> None:
        self.backbone, self.settings = backbone, settings
        self.timesteps = ddim_timesteps(steps, backbone.num_train_timesteps)
        self.nbytes = 0  # of Q, K and V of one image, after a call

    @torch.no_grad()
    def __call__(self, content: Tensor, style: Tensor) -> Tensor:
        """Pixels of content and style (1, 3, height, width) to pixels of the same shape."""
        latents_c, kept_c = self._invert(content)
        latents_s, kept_s = self._invert(style)
        self.nbytes = sum(tensor.nbytes for steps in kept_c.values() for step in steps for tensor in step)
        latents = latents_c + self.settings.colour * (_adain(latents_c, latents_s) - latents_c)
        for i in reversed(range(len(self.timesteps))):
            processors = {name: _Substitute(kept_c[name][i], kept_s[name][i], self.settings) for name in kept_c}
            with _self_attention(self.backbone, processors):
                noise_pred = self.backbone.noise_pred(latents, self.timesteps[i])
            x0 = predict_x0(latents, noise_pred, self.backbone.alpha_cumprod(self.timesteps[i]))
            pixels = self.backbone.decode(x0)
            if i > 0:
                latents = self._move(latents, noise_pred, i, i - 1)
        return pixels

    def _invert(self, pixels: Tensor) -> tuple[Tensor, dict[str, list[Projections]]]:
        processors = {layer.name: _KeepProjections() for layer in self.backbone.layers}
        latents = self.backbone.encode(pixels)
        with _self_attention(self.backbone, processors):
            for i, timestep in enumerate(self.timesteps):
                noise_pred = self.backbone.noise_pred(latents, timestep)
                self.backbone.decode(predict_x0(latents, noise_pred, self.backbone.alpha_cumprod(timestep)))
                if i + 1 < len(self.timesteps):
                    latents = self._move(latents, noise_pred, i, i + 1)
        return latents, {name: processor.kept for name, processor in processors.items()}

    def _move(self, latents: Tensor, noise_pred: Tensor, i: int, j: int) -> Tensor:
        alpha, alpha_to = (self.backbone.alpha_cumprod(self.timesteps[k]) for k in (i, j))
        return move(latents, noise_pred, alpha, alpha_to)


@dataclass
class _ThreeRows:
    """Rows content, style, target: the first two attend to themselves, the target by FFA to both."""

    settings: FusionSettings
    attend: Attend

    def __call__(self, attn: Attention, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        query, key, value = _projections(attn, hidden_states)
        references = self.attend(query[:2], key[:2], value[:2], None, query.shape[-1] ** -0.5)
        target = feature_fusion_attention(
            query[2:],
            query[:1],
            key[:1],
            value[:1],
            key[1:2],
            value[1:2],
            strength=self.settings.strength,
            structure=self.settings.structure,
            temperature=self.settings.temperature,
            attend=self.attend,
        )
        return _output(attn, torch.cat([references, target]))


@torch.no_grad()
def three_branches(
    backbone: Backbone, content: Inversion, style: Inversion, settings: FusionSettings, *, as_published: bool
) -> Tensor:
    """A re-render without a feature bank, as PortraitDiffusion makes every one: pixels (1, 3, height, width).

    Only the latents of both inversions are kept; at every step they run beside the target in one batch. The formula
    is ours, so that the picture is the same and nothing but the storage differs. `as_published` adds what the public
    code does besides: every attention layer computes explicit probabilities, and all three rows are decoded.
    Counts three UNet calls a step.
    """
    device, dtype = backbone.device, backbone.dtype
    trajectory, trajectory_s, noise = (
        tensor.to(device) for tensor in (content.trajectory, style.trajectory, content.noise)
    )
    colour, palettes = settings.colour * min(settings.strength, 1), [(trajectory_s[:1], 1.0)]
    latents = start_latents(backbone, content, [(style, 1.0)], settings, settings.strength, content.steps - 1)
    null_prompt = backbone.null_prompt.to(device, dtype).expand(3, -1, -1)
    processors: dict[str, object] = {
        layer.name: _ThreeRows(settings, _explicit if as_published else sdpa) for layer in backbone.layers
    }
    if as_published:
        processors |= {name.replace("attn1", "attn2"): AttnProcessor() for name in processors}
    with _self_attention(backbone, processors):
        for i in reversed(range(content.steps)):
            timestep = content.timesteps[i]
            alpha = backbone.alpha_cumprod(timestep)
            alpha_to = backbone.alpha_cumprod(content.timesteps[i - 1]) if i > 0 else backbone.final_alpha_cumprod
            rows = torch.cat([trajectory[i : i + 1], trajectory_s[i : i + 1], latents])  # (3, channels, h, w)
            sample = rows.to(dtype, memory_format=torch.channels_last)
            output = backbone.unet(sample, timestep, null_prompt).sample[2:].float()  # (1, channels, h, w)
            backbone.unet_calls += 3
            noise_pred = to_noise_pred(output, latents, alpha, backbone.prediction_type)
            residual = trajectory[max(i - 1, 0)] - move(trajectory[i], noise[i], alpha, alpha_to)
            latents = move(latents, noise_pred, alpha, alpha_to) + residual
    latents = latents + colour * palette_shift(latents, palettes)
    decoded = torch.cat([trajectory[:1], trajectory_s[:1], latents]) if as_published else latents
    pixels = backbone.decode(decoded)[-1:]  # (1, 3, height, width)
    latents = without_margin(latents, backbone.margin)
    return detailed(pixels, latents, content, [(style, 1.0)], settings, settings.strength).cpu()
