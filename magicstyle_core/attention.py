"""Feature Fusion Attention (FFA), and how it gets into a diffusers UNet and out again.

`feature_fusion_attention` is the formula. The context managers `recording` and `fusing` install
processors on the self-attention layers of a UNet for one block of code and always restore it.
The formula is ours, parametrised after the family of training-free stylization methods; the
equation of arXiv 2409.08156 is not public to us.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor

from magicstyle_core.errors import SettingsError
from magicstyle_core.settings import Fusion

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None, float], Tensor]  # query, key, value, bias, scale
Features = Mapping[str, Tensor]  # layer name -> input of that layer, (1, tokens, channels)

JOINT_LIMIT = 30.0  # |log-odds| at strength 0 and from strength 1 up: all content, all style


def sdpa(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """softmax(scale Q K' + bias) V by PyTorch's fused kernel; (batch, heads, tokens, dim)."""
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale)


def probed_xformers(device: torch.device, dtype: torch.dtype) -> Attend:
    """The same by xformers, after one small call has shown that it runs on this device.

    Raises:
        ImportError, NotImplementedError, RuntimeError or ValueError: it does not.
    """
    from xformers.ops import memory_efficient_attention

    def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float) -> Tensor:
        query, key, value = (tensor.transpose(1, 2) for tensor in (query, key, value))  # (batch, tokens, heads, dim)
        if bias is not None:
            bias = bias.expand(query.shape[0], query.shape[2], query.shape[1], key.shape[1])
        return memory_efficient_attention(query, key, value, attn_bias=bias, scale=scale).transpose(1, 2)

    probe = torch.ones(1, 1, 8, 8, device=device, dtype=dtype)
    attend(probe, probe, probe, None, 1.0)
    return attend


def feature_fusion_attention(
    query: Tensor,
    query_c: Tensor | None,
    key_c: Tensor | None,
    value_c: Tensor | None,
    key_s: Tensor,
    value_s: Tensor,
    *,
    strength: float | Tensor,
    structure: float | Tensor,
    temperature: float = 1.0,
    fusion: Fusion = "blend",
    style_bias: Tensor | None = None,
    attend: Attend = sdpa,
) -> Tensor:
    """Attention of the target over content and style features.

        Q   = (1 - structure) query + structure query_c
        O_c = softmax(Q K_c' / sqrt d) V_c
        O_s = softmax(temperature Q K_s' / sqrt d + style_bias) V_s
        blend:  O_c + strength (O_s - O_c)
        joint:  one softmax over both key sets, the log-odds of strength added to the style's logits

    Args:
        query: (batch, heads, tokens, dim).
        query_c: the same; None if structure is 0.
        key_c, value_c: the same; None if the strength of a blend is 1, where the content's attention cancels out.
        key_s, value_s: (batch, heads, style_tokens, dim); several styles lie side by side.
        strength: a number, or (batch, 1, tokens, 1) to set it per query.
        structure: a number, or (batch, 1, 1, 1).
        style_bias: (style_tokens,), added to the style's logits (log weights of several styles).
        attend: the attention kernel.

    Returns:
        (batch, heads, tokens, dim).
    """
    if query_c is not None:
        query = query + structure * (query_c - query)  # (batch, heads, tokens, dim)
    scale = 1 / math.sqrt(query.shape[-1])
    if fusion == "joint":
        assert key_c is not None
        assert value_c is not None
        return _joint_attention(
            query * scale, key_c, value_c, key_s * temperature, value_s, strength, style_bias, attend
        )
    bias = None if style_bias is None else style_bias.to(query.dtype).expand(1, 1, query.shape[2], -1)
    out_s = attend(query, key_s, value_s, bias, temperature * scale)
    if key_c is None or value_c is None:
        return out_s
    out_c = attend(query, key_c, value_c, None, scale)
    return out_c + strength * (out_s - out_c)


def _joint_attention(
    query: Tensor,
    key_c: Tensor,
    value_c: Tensor,
    key_s: Tensor,
    value_s: Tensor,
    strength: float | Tensor,
    style_bias: Tensor | None,
    attend: Attend,
) -> Tensor:
    """One softmax over content and style keys; `query` and `key_s` come scaled.

    The log-odds per query and the weight per style key ride in two extra channels of query and key,
    so that it stays one fused attention call.
    """
    strength = torch.as_tensor(strength, dtype=torch.float32, device=query.device)
    log_odds = torch.logit(strength.clamp(0, 1)).clamp(-JOINT_LIMIT, JOINT_LIMIT).to(query.dtype)
    per_query = torch.stack([log_odds.expand_as(query[..., :1]), torch.ones_like(query[..., :1])], dim=-1).flatten(
        -2
    )  # (batch, heads, tokens, 2)
    bias = torch.zeros(key_s.shape[2], device=query.device) if style_bias is None else style_bias
    per_key_s = torch.stack([torch.ones_like(bias), bias], dim=-1).to(query.dtype)  # (style_tokens, 2)
    query = torch.cat([query, per_query], dim=-1)  # (batch, heads, tokens, dim + 2)
    key = torch.cat([F.pad(key_c, (0, 2)), torch.cat([key_s, per_key_s.expand(*key_s.shape[:3], 2)], dim=-1)], dim=2)
    return attend(query, key, torch.cat([value_c, value_s], dim=2), None, 1.0)


@dataclass(frozen=True)
class Layer:
    """One self-attention module of a UNet."""

    name: str  # as diffusers names it: up_blocks.2.attentions.1.transformer_blocks.0.attn1
    label: str  # as people see it: up 2.1
    level: int  # times its input is halved against the latents
    group: str  # "structure", "colour" or "texture", by its level

    @property
    def side(self) -> str:
        """Where it is: "down", "mid" or "up"."""
        return self.label.split()[0]

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the layer's tokens for latents of that height and width."""
        return -(-height // 2**self.level), -(-width // 2**self.level)


def self_attention_layers(unet: UNet2DConditionModel) -> list[Layer]:
    """Every self-attention layer in the order of the forward pass: down, mid, up."""
    levels = len(unet.config.block_out_channels)
    layers = []
    for name, module in unet.named_modules():
        if not (name.endswith(".attn1") and isinstance(module, Attention)):
            continue
        parts = name.split(".")
        if parts[0] == "mid_block":
            label, level = f"mid {parts[2]}", levels - 1
        else:
            side, block = parts[0].removesuffix("_blocks"), int(parts[1])
            label, level = f"{side} {block}.{parts[3]}", block if side == "down" else levels - 1 - block
        if parts[-2] != "0":
            label += f".{parts[-2]}"
        layers.append(Layer(name, label, level, ("texture", "colour")[level] if level < 2 else "structure"))
    order = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}
    return sorted(layers, key=lambda layer: order[layer.name.split(".")[0]])


def choose_layers(layers: Sequence[Layer], chosen: Sequence[str]) -> list[Layer]:
    """The layers that the chosen names mean.

    A name is "all", a side ("up"), a group ("texture"), both ("up.texture"), a label ("up 2.1"), or a dotted prefix of
    the module's name ("up_blocks.2").

    Raises:
        SettingsError: a name matches no layer.
    """
    matched: set[str] = set()
    for choice in chosen:
        hits = {
            layer.name
            for layer in layers
            if choice in ("all", layer.side, layer.group, f"{layer.side}.{layer.group}", layer.label)
            or f"{layer.name}.".startswith(f"{choice}.")
        }
        if not hits:
            labels = ", ".join(layer.label for layer in layers)
            raise SettingsError(
                f"Layer {choice!r} matches nothing in this model. Choose 'all', a side (down, mid, up), a group "
                f"(structure, colour, texture), both (up.texture), or one of: {labels}."
            )
        matched |= hits
    return [layer for layer in layers if layer.name in matched]


class OneTokenAttention:
    """Cross-attention to a prompt of one token: the softmax over a single key is 1, whatever the query."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        return attn.to_out[1](attn.to_out[0](attn.to_v(encoder_hidden_states)))  # (batch, 1, channels), for every token


class _Record:
    """Keeps the layer's input, then does what the layer did before."""

    def __init__(self, name: str, original: object, recorded: dict[str, Tensor]) -> None:
        self.name, self.original, self.recorded = name, original, recorded

    def __call__(self, attn: Attention, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        self.recorded[self.name] = hidden_states.detach()
        return self.original(attn, hidden_states, *args, **kwargs)  # type: ignore[operator]


@dataclass(frozen=True)
class FusionInputs:
    """What FFA needs beside the target itself, for one step."""

    content: Features
    styles: Sequence[Features]
    weights: Sequence[float]  # one per style, positive
    strength: float | Tensor  # a number, or a map (1, 1, latent_height, latent_width)
    structure: float
    temperature: float
    fusion: Fusion
    attend: Attend = sdpa

    def strength_at(self, rows: int, columns: int) -> float | Tensor:
        """Strength per query of a layer: (1, 1, rows * columns, 1), or the one number."""
        if not isinstance(self.strength, Tensor):
            return self.strength
        return F.adaptive_avg_pool2d(self.strength, (rows, columns)).reshape(1, 1, -1, 1)


class _Fuse:
    """Self-attention of the target replaced by FFA over stored layer inputs."""

    def __init__(self, layer: Layer, inputs: FusionInputs, latent_size: tuple[int, int]) -> None:
        self.layer, self.inputs = layer, inputs
        self.strength = inputs.strength_at(*layer.size(*latent_size))

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        def heads(projected: Tensor) -> Tensor:
            return projected.unflatten(-1, (attn.heads, -1)).transpose(1, 2)  # (1, heads, tokens, dim)

        content = self.inputs.content[self.layer.name].to(hidden_states)  # (1, tokens, channels)
        styles = [features[self.layer.name].to(hidden_states) for features in self.inputs.styles]
        style = torch.cat(styles, dim=1)  # (1, style_tokens, channels)
        strength = self.strength.to(hidden_states) if isinstance(self.strength, Tensor) else self.strength
        style_alone = self.inputs.fusion == "blend" and isinstance(strength, float | int) and strength == 1
        fused = feature_fusion_attention(
            heads(attn.to_q(hidden_states)),
            heads(attn.to_q(content)) if self.inputs.structure else None,
            None if style_alone else heads(attn.to_k(content)),
            None if style_alone else heads(attn.to_v(content)),
            heads(attn.to_k(style)),
            heads(attn.to_v(style)),
            strength=strength,
            structure=self.inputs.structure,
            temperature=self.inputs.temperature,
            fusion=self.inputs.fusion,
            style_bias=self._style_bias(styles),
            attend=self.inputs.attend,
        )  # (1, heads, tokens, dim)
        out = fused.transpose(1, 2).flatten(2)  # (1, tokens, channels)
        return attn.to_out[1](attn.to_out[0](out))

    def _style_bias(self, styles: Sequence[Tensor]) -> Tensor | None:
        """Log weight of every style token; a larger picture does not weigh more. (style_tokens,)"""
        if len(styles) == 1:
            return None
        return torch.cat(
            [
                torch.full((style.shape[1],), math.log(weight / style.shape[1]), device=style.device)
                for style, weight in zip(styles, self.inputs.weights, strict=True)
            ]
        )


@contextmanager
def _installed(unet: UNet2DConditionModel, processors: Mapping[str, object]) -> Iterator[None]:
    """Sets the processors of the named layers; on leaving, however that happens, the UNet is as before."""
    modules = {name: unet.get_submodule(name) for name in processors}
    originals = {name: module.processor for name, module in modules.items()}
    try:
        for name, processor in processors.items():
            modules[name].processor = processor
        yield
    finally:
        for name, original in originals.items():
            modules[name].processor = original


@contextmanager
def recording(unet: UNet2DConditionModel, layers: Sequence[Layer]) -> Iterator[dict[str, Tensor]]:
    """Within the block, a forward pass leaves the input of every given layer in the yielded dict."""
    recorded: dict[str, Tensor] = {}
    processors = {
        layer.name: _Record(layer.name, unet.get_submodule(layer.name).processor, recorded) for layer in layers
    }
    with _installed(unet, processors):
        yield recorded


@contextmanager
def fusing(
    unet: UNet2DConditionModel, layers: Sequence[Layer], inputs: FusionInputs, latent_size: tuple[int, int]
) -> Iterator[None]:
    """Within the block, the given layers attend by FFA; `latent_size` is (height, width) of the latents."""
    with _installed(unet, {layer.name: _Fuse(layer, inputs, latent_size) for layer in layers}):
        yield
