from itertools import pairwise

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler

from magicstyle_core.schedule import ddim_timesteps, move, predict_x0, subset, to_noise_pred

CONFIG = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


@pytest.fixture
def scheduler() -> DDIMScheduler:
    return DDIMScheduler(**CONFIG)


@pytest.mark.parametrize("steps", [8, 20, 50])
def test_timesteps_are_those_of_diffusers(scheduler: DDIMScheduler, steps: int) -> None:
    scheduler.set_timesteps(steps)
    assert ddim_timesteps(steps, 1000) == scheduler.timesteps.tolist()[::-1]


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_every_move_down_agrees_with_diffusers(prediction_type: str) -> None:
    scheduler = DDIMScheduler(**CONFIG, prediction_type=prediction_type)
    scheduler.set_timesteps(20)
    alphas = scheduler.alphas_cumprod
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    timesteps = scheduler.timesteps.tolist()
    for timestep, following in zip(timesteps, [*timesteps[1:], None], strict=True):
        output = torch.randn(latents.shape, generator=torch.Generator().manual_seed(timestep))
        expected = scheduler.step(output, timestep, latents)
        alpha_to = scheduler.final_alpha_cumprod if following is None else alphas[following]
        noise_pred = to_noise_pred(output, latents, alphas[timestep], prediction_type)
        moved = move(latents, noise_pred, alphas[timestep], alpha_to)
        torch.testing.assert_close(moved, expected.prev_sample, rtol=1e-4, atol=1e-5)
        x0 = predict_x0(latents, noise_pred, alphas[timestep])
        torch.testing.assert_close(x0, expected.pred_original_sample, rtol=1e-4, atol=1e-4)
        latents = moved


def test_move_up_agrees_with_the_inverse_scheduler() -> None:
    inverse = DDIMInverseScheduler(**CONFIG)
    inverse.set_timesteps(20)
    latents, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()
    expected = inverse.step(noise, 151, latents).prev_sample  # diffusers names the timestep that is arrived at
    alphas = inverse.alphas_cumprod
    torch.testing.assert_close(move(latents, noise, alphas[101], alphas[151]), expected)


@pytest.mark.parametrize(("low", "high"), [(1, 51), (1, 951), (401, 451)])
def test_there_and_back_is_the_identity(scheduler: DDIMScheduler, low: int, high: int) -> None:
    latents, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()
    alphas = scheduler.alphas_cumprod
    there = move(latents, noise, alphas[low], alphas[high])
    torch.testing.assert_close(move(there, noise, alphas[high], alphas[low]), latents, rtol=0, atol=2e-5)


def test_subset_keeps_both_ends_and_never_repeats() -> None:
    for stored in range(2, 60):
        for steps in range(2, 70):
            indices = subset(stored, steps)
            assert len(indices) == min(steps, stored)
            assert (indices[0], indices[-1]) == (stored - 1, 0)
            assert all(a > b for a, b in pairwise(indices))
