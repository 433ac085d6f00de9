"""Stable Diffusion architectures with random weights, built in memory: what they cost needs no download."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import nn

from magicstyle_core.model import Defaults, Model, Prompt


@dataclass(frozen=True)
class Architecture:
    """The sizes in which the models below differ; all else is as in Stable Diffusion 1.5."""

    unet_channels: tuple[int, ...]
    unet_layers: int
    vae_channels: tuple[int, ...]
    vae_layers: int
    norm_groups: int


ARCHITECTURES = {
    "sd15": Architecture((320, 640, 1280, 1280), 2, (128, 256, 512, 512), 2, 32),
    "sd15-narrow": Architecture((160, 320, 640, 640), 2, (64, 128, 256, 256), 2, 32),
    "tiny": Architecture((32, 32, 64, 64), 1, (8, 16, 16, 16), 1, 8),
}


def random_model(name: str, device: torch.device, dtype: torch.dtype) -> Model:
    """A model of one of the ARCHITECTURES, the same weights every time on the same kind of device."""
    sizes = ARCHITECTURES[name]
    with torch.device("meta"):  # the default initialisation of 0.9 billion weights takes longer than using them
        unet = UNet2DConditionModel(
            sample_size=64,
            block_out_channels=sizes.unet_channels,
            layers_per_block=sizes.unet_layers,
            attention_head_dim=8,  # diffusers' name for the number of heads
            cross_attention_dim=768,
            norm_num_groups=sizes.norm_groups,
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=sizes.vae_channels,
            layers_per_block=sizes.vae_layers,
            norm_num_groups=sizes.norm_groups,
            latent_channels=4,
            sample_size=512,
        )
    generator = torch.Generator(device).manual_seed(0)
    for model in (unet, vae):
        nn.Module.to(model, dtype).to_empty(device=device)  # diffusers' own `to` warns of what does not apply
        _fill(model, generator)
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    scheduler = DDIMScheduler(**betas, steps_offset=1, clip_sample=False, set_alpha_to_one=False)
    defaults = Defaults(size=512, steps=20, t_max=1000, preset="StyleID's attention")
    prompt = Prompt(torch.zeros(1, 77, 768))
    return Model(f"{name} with random weights", unet, vae, scheduler, prompt, defaults, device=device)


@torch.no_grad()
def _fill(model: nn.Module, generator: torch.Generator) -> None:
    """Weights that keep values at order 1 from layer to layer: norms do nothing, the rest scales by its fan-in."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.normal_(std=1 / math.sqrt(parameter[0].numel()), generator=generator)
        else:
            parameter.zero_()
    for module in model.modules():
        if isinstance(module, nn.GroupNorm | nn.LayerNorm):
            module.weight.fill_(1)
