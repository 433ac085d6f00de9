"""How the method gets into a diffusers UNet and out again: which layers it has, recording them, fusing in them.

Everything here sets attention processors for one block of code; on leaving, whatever happens, the UNet is as before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor

from magicstyle_core.attention import Attend, Fusion, Grid, feature_fusion_attention, sdpa
from magicstyle_core.errors import ModelError
from magicstyle_core.layers import Layer

Features = Mapping[str, Tensor]  # layer name -> input of that layer, (batch, tokens, channels)


def self_attention_layers(unet: UNet2DConditionModel) -> list[Layer]:
    """Every self-attention layer in the order of the forward pass: down, mid, up."""
    lowest = len(unet.config.block_out_channels) - 1
    found = []
    for name, module in unet.named_modules():
        if not (name.endswith(".attn1") and isinstance(module, Attention)):
            continue
        parts = name.split(".")
        if parts[0] == "mid_block":
            label, level = f"mid {parts[2]}", lowest
        else:
            side, block = parts[0].removesuffix("_blocks"), int(parts[1])
            label, level = f"{side} {block}.{parts[3]}", block if side == "down" else lowest - block
        if parts[-2] != "0":
            label += f".{parts[-2]}"
        found.append((name, label, level))
    ranks = {level: rank for rank, level in enumerate(sorted({level for _, _, level in found}))}
    groups = ["fine", *["middle"] * (len(ranks) > 2), *["coarse"] * len(ranks)]
    order = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}
    found.sort(key=lambda layer: order[layer[0].split(".")[0]])
    return [Layer(name, label, level, groups[ranks[level]]) for name, label, level in found]


@contextmanager
def installed(unet: UNet2DConditionModel, processors: Mapping[str, Any]) -> Iterator[None]:
    """Within the block the named attention modules use these processors.

    Raises:
        ModelError: on leaving, a module was never called although the block went through.
    """
    modules = {name: unet.get_submodule(name) for name in processors}
    originals = {name: module.processor for name, module in modules.items()}
    reached: set[str] = set()
    handles = [
        module.register_forward_pre_hook(lambda *_, name=name: reached.add(name)) for name, module in modules.items()
    ]
    try:
        for name, processor in processors.items():
            modules[name].processor = processor
        yield
    finally:
        for handle in handles:
            handle.remove()
        for name, original in originals.items():
            modules[name].processor = original
    if len(reached) < len(processors):
        raise ModelError(f"The model never ran {', '.join(sorted(set(processors) - reached))}; choose other layers.")


# CSDI


class _Record:
    """Keeps the layer's input, then does what the layer did before."""

    def __init__(self, name: str, original: Any, recorded: dict[str, Tensor]) -> None:
        self.name, self.original, self.recorded = name, original, recorded

    def __call__(self, attn: Attention, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.recorded[self.name] = hidden_states
        return self.original(attn, hidden_states, *args, **kwargs)


@contextmanager
def record(unet: UNet2DConditionModel, layers: Sequence[Layer]) -> Iterator[dict[str, Tensor]]:
    """Within the block, a forward pass leaves the input of every given layer in the yielded dict.

    The input is enough: query, key and value are one projection away, bit for bit, at a third of the bytes. Within
    `fuse` it is the target's; gradients flow through it where they are on.
    """
    recorded: dict[str, Tensor] = {}
    originals = {layer.name: unet.get_submodule(layer.name).processor for layer in layers}
    with installed(unet, {name: _Record(name, original, recorded) for name, original in originals.items()}):
        yield recorded


# FFF


@dataclass(frozen=True)
class Fusing:
    """How features are fused, at whatever step and layer."""

    strength: Tensor  # a map over latents, (batch or 1, 1, latent_height, latent_width)
    structure: float = 0.0
    temperature: float = 1.0
    balance: float = 0.0
    neighbours: float = 0.0
    strokes: Tensor | None = None  # a map as strength; None = those of the style alone
    fusion: Fusion = "blend"
    weights: Sequence[float] = (1.0,)  # of the styles, positive
    attend: Attend = sdpa
    # Of each style where it may be looked at, bool (height, width) of its latents; () = as large as the target, all.
    allowed: Sequence[Tensor] = ()
    watch: Callable[[Tensor], object] | None = None  # see `feature_fusion_attention`

    def grids(self, layer: Layer) -> list[Grid]:
        """The target's tokens, then of each style those that may be looked at.

        The others get no attention at all: a softmax without a key is the one with -inf for its logit.
        """
        everywhere = torch.ones(self.strength.shape[2:], dtype=torch.bool)  # (latent_height, latent_width)
        return [grid(layer, map_) for map_ in (everywhere, *(self.allowed or [everywhere] * len(self.weights)))]

    def style_bias(self, styles: Sequence[Grid]) -> Tensor:
        """The logarithm of every style token's weight, (style_tokens,); a larger picture does not weigh more."""
        counts = [len(style.tokens) for style in styles]
        weighted = zip(counts, self.weights, strict=True)
        return torch.cat([torch.full((count,), math.log(weight / count)) for count, weight in weighted])


def per_query(layer: Layer, map_: Tensor) -> Tensor:
    """A map over latents, (batch or 1, 1, height, width), for each query of a layer: (batch or 1, 1, tokens, 1)."""
    return F.adaptive_avg_pool2d(map_, layer.size(*map_.shape[2:])).flatten(1)[:, None, :, None]


def grid(layer: Layer, allowed: Tensor) -> Grid:
    """The layer's tokens at least half of which may be looked at; where there is none, the nearest one.

    Args:
        allowed: bool (height, width) of the latents.
    """
    rows, columns = layer.size(*allowed.shape)
    share = F.adaptive_avg_pool2d(allowed[None].float(), (rows, columns)).flatten()  # (all tokens,)
    return Grid(rows, columns, (share >= min(0.5, float(share.max()))).nonzero()[:, 0])


def by_heads(attn: Attention, projected: Tensor) -> Tensor:
    """Queries, keys or values (batch, tokens, channels) as (batch, heads, tokens, dim)."""
    return projected.unflatten(-1, (attn.heads, -1)).transpose(1, 2)


def fused_attention(
    attn: Attention, target: Tensor, content: Tensor, styles: Sequence[Tensor], how: Fusing, layer: Layer
) -> Tensor:
    """A self-attention layer's output for the target by FFA.

    Args:
        target, content: inputs of the layer, (batch, tokens, channels).
        styles: the same, of any number of tokens each.

    Returns:
        (batch, tokens, channels).
    """
    heads, strength, grids = partial(by_heads, attn), per_query(layer, how.strength).to(target), how.grids(layer)
    looked_at = torch.cat([style[:, part.tokens] for style, part in zip(styles, grids[1:], strict=True)], 1)
    style_alone = how.fusion == "blend" and bool((strength == 1).all())
    fused = feature_fusion_attention(
        heads(attn.to_q(target)),
        heads(attn.to_q(content)) if how.structure else None,
        None if style_alone else heads(attn.to_k(content)),
        None if style_alone and how.strokes is None else heads(attn.to_v(content)),
        heads(attn.to_k(looked_at)),
        heads(attn.to_v(looked_at)),
        strength=strength,
        structure=how.structure,
        temperature=how.temperature,
        balance=how.balance,
        neighbours=how.neighbours,
        strokes=None if how.strokes is None else per_query(layer, how.strokes),
        grids=grids,
        fusion=how.fusion,
        style_bias=how.style_bias(grids[1:]).to(target.device) if len(styles) > 1 else None,
        attend=how.attend,
        watch=how.watch,
    )  # (batch, heads, tokens, dim)
    return attn.to_out[1](attn.to_out[0](fused.transpose(1, 2).flatten(2)))


class _Fuse:
    """The target's self-attention replaced by FFA over stored layer inputs."""

    def __init__(self, content: Tensor, styles: Sequence[Tensor], how: Fusing, layer: Layer) -> None:
        self.content, self.styles, self.how, self.layer = content, styles, how, layer

    def __call__(self, attn: Attention, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        styles = [style.to(hidden_states) for style in self.styles]
        return fused_attention(attn, hidden_states, self.content.to(hidden_states), styles, self.how, self.layer)


@contextmanager
def fuse(
    unet: UNet2DConditionModel, layers: Sequence[Layer], content: Features, styles: Sequence[Features], how: Fusing
) -> Iterator[None]:
    """Within the block, the given layers attend by FFA over these features."""
    processors = {
        layer.name: _Fuse(content[layer.name], [features[layer.name] for features in styles], how, layer)
        for layer in layers
    }
    with installed(unet, processors):
        yield


class OneTokenAttention:
    """Cross-attention to a prompt of one token: the softmax over a single key is 1, whatever the query."""

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, *_: Any, **__: Any
    ) -> Tensor:
        return attn.to_out[1](attn.to_out[0](attn.to_v(encoder_hidden_states)))  # (batch, 1, channels), for every token
