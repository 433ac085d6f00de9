"""Single files in the layout of the original Stable Diffusion code, made from diffusers folders: names turned back."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "conv_in": "input_blocks.0.0",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "time_embedding.cond_proj": "time_embed.cond_proj", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
VAE_PARTS = (
    (r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2"),
    (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
    (r"mid_block\.resnets\.0", "mid.block_1"), (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0", "mid.attn_1"), (r"conv_norm_out", "norm_out"), (r"conv_shortcut", "nin_shortcut"),
    (r"group_norm", "norm"), (r"to_out\.0", "proj_out"), (r"to_([qkv])", r"\1"),
)  # fmt: skip
OPEN_CLIP = (
    (r"(text_model\.)?encoder\.layers", "transformer.resblocks"), (r"layer_norm1", "ln_1"), (r"layer_norm2", "ln_2"),
    (r"mlp\.fc1", "mlp.c_fc"), (r"mlp\.fc2", "mlp.c_proj"), (r"self_attn\.out_proj", "attn.out_proj"),
    (r"(text_model\.)?embeddings\.token_embedding", "token_embedding"),
    (r"(text_model\.)?final_layer_norm", "ln_final"),
    (r"(text_model\.)?embeddings\.position_embedding\.weight", "positional_embedding"),
)  # fmt: skip


def unet_tensors(folder: Path) -> dict[str, Tensor]:
    tensors = load_file(folder / "unet/diffusion_pytorch_model.safetensors")
    layers = 1 + max(int(found[1]) for name in tensors if (found := re.match(r"down_blocks\.0\.resnets\.(\d)", name)))
    attended = {found[1] for name in tensors if (found := re.match(r"up_blocks\.(\d)\.attentions", name))}
    return {f"model.diffusion_model.{_unet_name(name, layers, attended)}": t for name, t in tensors.items()}


def _unet_name(name: str, layers: int, attended: set[str]) -> str:
    for ours, theirs in UNET_ENDS.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs, 1)
    side, rest = name.split(".", 1)
    if side == "mid_block":
        kind, number, rest = rest.split(".", 2)
        place = "middle_block.1" if kind == "attentions" else f"middle_block.{2 * int(number)}"
    else:
        block, kind, number, rest = rest.split(".", 3)
        if kind == "downsamplers":
            return f"input_blocks.{(int(block) + 1) * (layers + 1)}.0.op.{rest.removeprefix('conv.')}"
        if kind == "upsamplers":
            return f"output_blocks.{int(block) * (layers + 1) + layers}.{1 + (block in attended)}.{rest}"
        index = int(block) * (layers + 1) + int(number)
        place = f"input_blocks.{index + 1}" if side == "down_blocks" else f"output_blocks.{index}"
        place += f".{int(kind == 'attentions')}"
    if kind == "resnets":
        part, end = rest.rsplit(".", 1)
        rest = f"{RESNET[part]}.{end}"
    return f"{place}.{rest}"


def vae_tensors(folder: Path) -> dict[str, Tensor]:
    tensors = load_file(folder / "vae/diffusion_pytorch_model.safetensors")
    last = max(int(found[1]) for name in tensors if (found := re.search(r"up_blocks\.(\d)", name)))
    turned = {}
    for name, tensor in tensors.items():
        name = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{last - int(m[1])}.block.{m[2]}", name)
        name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{last - int(m[1])}.upsample", name)
        for ours, theirs in VAE_PARTS:
            name = re.sub(ours, theirs, name)
        is_projection = ".attn_1." in name and name.endswith("weight") and tensor.ndim == 2
        turned[f"first_stage_model.{name}"] = tensor[:, :, None, None] if is_projection else tensor
    return turned


def clip_tensors(folder: Path) -> dict[str, Tensor]:
    """As Stable Diffusion 1.x holds its text encoder."""
    prefix, tensors = "cond_stage_model.transformer.text_model.", load_file(folder / "text_encoder/model.safetensors")
    return {f"{prefix}{name.removeprefix('text_model.')}": tensor for name, tensor in tensors.items()}


def open_clip_tensors(folder: Path) -> dict[str, Tensor]:
    """As Stable Diffusion 2.x holds it: query, key and value in one."""
    turned, projections = {}, {}
    for name, tensor in load_file(folder / "text_encoder/model.safetensors").items():
        for ours, theirs in OPEN_CLIP:
            name = re.sub(ours, theirs, name)
        if found := re.fullmatch(r"(.*)\.self_attn\.([qkv])_proj\.(\w+)", name):
            projections[found[1], found[3], found[2]] = tensor
        else:
            turned[name] = tensor
    for place, end in {(place, end) for place, end, _ in projections}:
        turned[f"{place}.attn.in_proj_{end}"] = torch.cat([projections[place, end, letter] for letter in "qkv"])
    return {f"cond_stage_model.model.{name}": tensor for name, tensor in turned.items()}


def write_checkpoint(file: Path, *parts: dict[str, Tensor]) -> Path:
    tensors = {name: tensor.contiguous() for part in parts for name, tensor in part.items()}
    save_file(tensors, file)
    return file
