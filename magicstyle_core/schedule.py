"""The noise schedule: timesteps, and one DDIM move between any two of them, as pure functions.

With a(t) = sqrt(alphas_cumprod[t]) and s(t) = sqrt(1 - alphas_cumprod[t]), a latent at t is
z = a(t) x0 + s(t) noise (Song et al., "Denoising Diffusion Implicit Models", arXiv 2010.02502).
"""

from __future__ import annotations

import torch
from torch import Tensor


def ddim_timesteps(steps: int, num_train_timesteps: int) -> list[int]:
    """Ascending timesteps t_0 < ... < t_{steps-1}: leading spacing, offset 1."""
    stride = num_train_timesteps // steps
    return [1 + i * stride for i in range(steps)]


def predict_x0(latents: Tensor, noise_pred: Tensor, alpha_cumprod: Tensor) -> Tensor:
    """The clean latents that latents and noise imply: (z - s noise) / a."""
    return (latents - (1 - alpha_cumprod).sqrt() * noise_pred) / alpha_cumprod.sqrt()


def move(latents: Tensor, noise_pred: Tensor, alpha_cumprod: Tensor, alpha_cumprod_to: Tensor) -> Tensor:
    """One DDIM move from one noise level to another, up or down, with the same noise (eta 0)."""
    x0 = predict_x0(latents, noise_pred, alpha_cumprod)
    return alpha_cumprod_to.sqrt() * x0 + (1 - alpha_cumprod_to).sqrt() * noise_pred


def to_noise_pred(model_output: Tensor, latents: Tensor, alpha_cumprod: Tensor, prediction_type: str) -> Tensor:
    """Noise estimate from what the UNet returns: itself (epsilon), or a v + s z (v_prediction, arXiv 2202.00512)."""
    if prediction_type == "v_prediction":
        return alpha_cumprod.sqrt() * model_output + (1 - alpha_cumprod).sqrt() * latents
    return model_output


def subset(stored_steps: int, steps: int) -> list[int]:
    """`steps` of the indices 0 .. stored_steps-1, evenly spread, both ends included, descending."""
    return [round(x) for x in torch.linspace(stored_steps - 1, 0, min(steps, stored_steps)).tolist()]
