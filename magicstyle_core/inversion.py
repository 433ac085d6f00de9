"""CSDI: DDIM inversion of one image, storing what every self-attention layer saw at every step."""

from __future__ import annotations

from collections.abc import Callable, Generator

import torch
from torch import Tensor

from magicstyle_core.attention import Features, recording
from magicstyle_core.backbone import Backbone
from magicstyle_core.schedule import move


@torch.no_grad()
def invert(
    backbone: Backbone, latents: Tensor, timesteps: list[int], store: Callable[[int, Features], None]
) -> Generator[int, None, tuple[Tensor, Tensor]]:
    """Inverts clean latents z_0 along ascending timesteps.

    At each step i the UNet sees (z_i, t_i) under the null prompt without guidance. Its layer inputs go to
    `store(i, features)`, its noise estimate e_i moves z_i to z_{i+1}. Features and noise are thus filed under
    the very point at which the forward pass will ask for them, and T UNet calls serve everything.

    Yields:
        The number of UNet calls done, 1 .. T.

    Returns:
        Trajectory and noise, each (T, channels, height, width) fp32 on the CPU.
    """
    trajectory, noise = [], []
    for i, timestep in enumerate(timesteps):
        with backbone.lock, recording(backbone.unet, backbone.layers) as features:
            noise_pred = backbone.noise_pred(latents, timestep)  # (1, channels, height, width)
        store(i, features)
        trajectory.append(latents.cpu())
        noise.append(noise_pred.cpu())
        if i + 1 < len(timesteps):
            latents = move(
                latents, noise_pred, backbone.alpha_cumprod(timestep), backbone.alpha_cumprod(timesteps[i + 1])
            )
        yield i + 1
    return torch.cat(trajectory), torch.cat(noise)
