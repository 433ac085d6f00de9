"""The diffusion model as the method needs it: pixels to latents and back, and the noise in latents.

A family of models is its conditioning and nothing else: what a UNet call gets beside latents and timestep
(`conditions`).
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderTiny, DDIMScheduler, ModelMixin, UNet2DConditionModel
from torch import Tensor

from magicstyle_core import method, quick
from magicstyle_core.attention import Attend, sdpa
from magicstyle_core.errors import SettingsError
from magicstyle_core.hooks import OneTokenAttention, self_attention_layers
from magicstyle_core.method import Around, Denoise, Schedule, Trajectory, ddim_timesteps

FIRST_VALUES = 64  # of a weight; enough to tell two trainings apart, few enough to cost nothing
TILING_FROM = 1024  # pixels; the VAE of SD takes a 1024 picture whole in 4 GiB, and tiles can show seams
CONSISTENCY_GUIDANCE = 7.5  # diffusers' default for consistency models, 8.5, less 1; they are distilled at 2 to 14


@dataclass(frozen=True)
class Prompt:
    """A text as the UNet takes it; the empty one, unless asked otherwise."""

    tokens: Tensor  # (1, tokens, channels)
    pooled: Tensor | None = None  # (1, channels), for Stable Diffusion XL alone


@dataclass(frozen=True)
class Defaults:
    """What a model wants to be used with, by its model_index.json or its family."""

    size: int  # pixels along the long side
    steps: int
    t_max: int  # timesteps of a schedule lie below
    preset: str
    margin: int = 0  # latents around the picture's own, see `with_margin`
    corrections: int = 0  # of every step of an inversion, see `method.invert`
    encode_again: float = 0.0  # the share of what decoding loses, see `Model.encode`
    consistency: bool = False  # distilled to few steps: inverting it is of no use, it works from noised pictures


class Model:
    """UNet and VAE with what it takes to run them; shared by all visitors.

    Latents are (batch, channels, h, w) in fp32, with the margin; pixels are (batch, 3, height, width) in about [-1, 1].
    `lock` is held for the length of one UNet call, so that processors of one render never meet another's.
    """

    def __init__(
        self,
        name: str,
        unet: UNet2DConditionModel,
        vae: ModelMixin,
        scheduler: DDIMScheduler,
        prompt: Prompt,
        defaults: Defaults,
        *,
        device: torch.device,
        preview_vae: AutoencoderTiny | None = None,
        attend: Attend = sdpa,
    ) -> None:
        self.name, self.device, self.prompt, self.attend = name, device, prompt, attend
        self.messages: list[str] = []  # what the user should know: a fallback, memory that ran out
        self.unet_calls = 0
        self.lock = threading.RLock()  # a caller that holds it calls `denoise`, whose guard takes it too
        self.unet = unet.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)
        self.vae = vae.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)
        self.preview_vae = preview_vae and preview_vae.requires_grad_(False).eval().to(device)
        self.layers = self_attention_layers(unet)
        if prompt.tokens.shape[1] == 1:
            for module_name, module in unet.named_modules():
                if module_name.endswith(".attn2"):
                    module.set_processor(OneTokenAttention())
        self.prediction_type = scheduler.config.prediction_type
        self.alphas_cumprod = scheduler.alphas_cumprod.to(device)  # (training timesteps,)
        self.final_alpha = scheduler.final_alpha_cumprod.to(device)  # ()
        self.size, self.steps, self.t_max = defaults.size, defaults.steps, defaults.t_max
        self.preset, self.margin, self.consistency = defaults.preset, defaults.margin, defaults.consistency
        self.corrections, self.encode_again = defaults.corrections, defaults.encode_again
        self.exact = False  # quick mode with the model's own estimates of the photograph
        self.options: dict[str, str] = {}  # beside its name, what it was loaded with: LoRA, prompt, revision, variant
        self.multiple = pixels_per_latent(vae)
        _tile(vae, max(TILING_FROM, self.size, vae.config.get("sample_size") or 0), self.multiple)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the first values of every weight: all would take seconds for SD, and training changes each."""
        sha = hashlib.sha256()
        for network in (self.unet, self.vae):
            for name, weight in network.state_dict().items():
                row = weight[0] if weight.dim() > 1 else weight  # `flatten` copies what lies in memory otherwise
                values = row.flatten()[:FIRST_VALUES].to("cpu", torch.float32)
                sha.update(f"{name} {tuple(weight.shape)} ".encode() + values.numpy().tobytes())
        return sha.hexdigest()

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    def schedule(self, steps: int) -> Schedule:
        """So many noise levels below `t_max`.

        Raises:
            SettingsError: there are not so many.
        """
        most = 1 + int(quick.SPACING * quick.STRENGTH) if self.consistency else self.t_max
        if steps > most:
            raise SettingsError(f"{steps} steps are asked for, {self.name} has {most}; ask for fewer.")
        timesteps = (quick.timesteps if self.consistency else ddim_timesteps)(steps, self.t_max)
        return Schedule(timesteps, self.alphas_cumprod[list(timesteps)], self.final_alpha)

    @torch.no_grad()
    def denoise(self, latents: Tensor, timestep: int) -> Tensor:
        """One UNet call: the estimate of the noise in latents at a timestep, their shape, fp32."""
        self.unet_calls += 1
        sample = latents.to(self.device, self.dtype, memory_format=torch.channels_last)
        batch, _, rows, columns = latents.shape
        output = self.unet(sample, timestep, **self.conditions(batch, rows, columns)).sample.float()  # as the latents
        if self.prediction_type == "v_prediction":  # arXiv 2202.00512
            alpha = self.alphas_cumprod[timestep]
            return alpha.sqrt() * output + (1 - alpha).sqrt() * latents.to(output)
        return output

    def conditions(self, batch: int, rows: int, columns: int) -> dict[str, Any]:
        """What a UNet call gets beside latents of that size and their timestep, as keyword arguments."""
        tokens = self.prompt.tokens.to(self.device, self.dtype)
        conditions: dict[str, Any] = {"encoder_hidden_states": tokens.expand(batch, -1, -1)}
        if self.prompt.pooled is not None:  # Stable Diffusion XL: size of the original, corner of its cut-out, size
            size = (rows * self.multiple, columns * self.multiple)
            conditions["added_cond_kwargs"] = {
                "text_embeds": self.prompt.pooled.to(self.device, self.dtype).expand(batch, -1),
                "time_ids": torch.tensor([*size, 0, 0, *size], device=self.device, dtype=self.dtype).expand(batch, -1),
            }
        if (channels := self.unet.config.time_cond_proj_dim) is not None:
            guidance = guidance_embedding(CONSISTENCY_GUIDANCE, channels)  # (1, channels)
            conditions["timestep_cond"] = guidance.to(self.device, self.dtype).expand(batch, -1)
        return conditions

    def invert(
        self, denoise: Denoise, latents: Tensor, schedule: Schedule, record: Around
    ) -> Generator[int, None, Trajectory]:
        """`method.invert`, or what takes its place for consistency models."""
        if self.consistency:
            return quick.invert(denoise, latents, schedule, record, self.alphas_cumprod[quick.REFERENCE])
        return method.invert(denoise, latents, schedule, record, self.corrections)

    def recorded_at(self, latents: Tensor, timesteps: Sequence[int], step: int) -> tuple[Tensor, int]:
        """Latents and timestep of the call whose features `invert` recorded for a stored step.

        Args:
            latents: of the trajectory, (T, batch, channels, h, w).
        """
        if self.consistency:
            return quick.noised(latents[0], self.alphas_cumprod[quick.REFERENCE]), quick.REFERENCE
        return latents[step], timesteps[step]

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels to latents: the mean, never a sample. h and w are height and width over `multiple`, and the margin.

        What the decoder makes of them is encoded once more, and `encode_again` of the difference is put on top.
        """
        latents = self._encode(pixels)
        if not self.encode_again:
            return latents
        return latents + self.encode_again * (latents - self._encode(self.decode(latents).clamp(-1, 1)))

    def _encode(self, pixels: Tensor) -> Tensor:
        wide = with_margin(pixels, self.margin * self.multiple)
        encoded = self.vae.encode(wide.to(self.device, self.vae.dtype))
        if hasattr(encoded, "latent_dist"):
            latents = encoded.latent_dist.mode()
        else:
            latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent
        shift = self.vae.config.get("shift_factor") or 0.0
        return (latents.float() - shift) * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents to pixels, fp32."""
        shift = self.vae.config.get("shift_factor") or 0.0
        scaled = latents / self.vae.config.scaling_factor + shift
        wide = self.vae.decode(scaled.to(self.device, self.vae.dtype)).sample.float()
        return without_margin(wide, self.margin * self.multiple)

    @torch.no_grad()
    def preview(self, latents: Tensor) -> Tensor:
        """Latents to pixels by the small decoder, where there is one, fp32."""
        assert self.preview_vae is not None
        wide = self.preview_vae.decode(latents.to(self.device, self.preview_vae.dtype)).sample.float().clamp(-1, 1)
        return without_margin(wide, self.margin * self.multiple)

    def strength_map(self, mask: Tensor) -> Tensor:
        """A map over pixels (1, 1, height, width) as one over latents (1, 1, h, w): the mean over their pixels."""
        rows, columns = (side // self.multiple for side in mask.shape[2:])
        return with_margin(F.adaptive_avg_pool2d(mask.to(self.device), (rows, columns)), self.margin)

    def of_the_picture(self, latents: Tensor) -> Tensor:
        """Latents without the margin: those that stand for pixels."""
        return without_margin(latents, self.margin)


def pixels_per_latent(vae: ModelMixin) -> int:
    """Along one side."""
    config = vae.config
    channels = (
        config.get("block_out_channels") or config.get("encoder_block_out_channels") or config.down_block_out_channels
    )
    return 2 ** (len(channels) - 1)


def with_margin(maps: Tensor, margin: int) -> Tensor:
    """Repeats the rim of (batch, channels, height, width) maps mirrored: height and width grow by 2 margin.

    Beyond its input a convolution reads zeros. A small model answers to that along the rim, and where a render changes
    the colours this shows as a frame. With a margin it falls outside of the picture.

    Args:
        margin: at most the shorter side.
    """
    for dim in (2, 3):
        first, last = maps.narrow(dim, 0, margin), maps.narrow(dim, maps.shape[dim] - margin, margin)
        maps = torch.cat([first.flip(dim), maps, last.flip(dim)], dim)
    return maps


def without_margin(maps: Tensor, margin: int) -> Tensor:
    """The inverse of `with_margin`."""
    height, width = maps.shape[2:]
    return maps[:, :, margin : height - margin, margin : width - margin]


def guidance_embedding(guidance: float, channels: int) -> Tensor:
    """What a consistency model is told about guidance (arXiv 2310.04378): sines and cosines, (1, channels)."""
    half = channels // 2
    frequencies = torch.exp(torch.arange(half) * -(math.log(10000.0) / (half - 1)))
    angles = 1000.0 * guidance * frequencies
    return F.pad(torch.cat([angles.sin(), angles.cos()]), (0, channels % 2))[None]


def _tile(vae: ModelMixin, side: int, multiple: int) -> None:
    """From pictures longer than `side` on, the VAE works in tiles of that size, if it can."""
    if isinstance(vae, AutoencoderKL):
        vae.tile_sample_min_size, vae.tile_latent_min_size = side, side // multiple
        vae.enable_tiling()
    elif isinstance(vae, AutoencoderDC):
        vae.enable_tiling(side, side, side * 7 // 8, side * 7 // 8)
