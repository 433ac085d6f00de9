"""The method against explicit formulas, against diffusers, and against itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler
from torch import Tensor

from magicstyle_core import method
from magicstyle_core.method import (
    Schedule,
    Trajectory,
    clean,
    ddim_timesteps,
    move,
    subset,
)
from magicstyle_core.palette import palette_shift, smoothed
from magicstyle_core.settings import inversion_calls
from tests.randoms import randoms

CONFIG = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
T = 6


# Moves


@pytest.mark.parametrize("steps", [8, 20, 50])
def test_timesteps_are_those_of_diffusers(steps: int) -> None:
    scheduler = DDIMScheduler(**CONFIG)
    scheduler.set_timesteps(steps)
    assert list(ddim_timesteps(steps, 1000)) == scheduler.timesteps.tolist()[::-1]


def test_every_move_down_agrees_with_diffusers() -> None:
    scheduler = DDIMScheduler(**CONFIG)
    scheduler.set_timesteps(20)
    alphas = scheduler.alphas_cumprod
    (latents,) = randoms(2, 4, 8, 8, count=1)
    for timestep, following in pairwise([*scheduler.timesteps.tolist(), -1]):
        (noise_pred,) = randoms(2, 4, 8, 8, count=1, seed=timestep)
        expected = scheduler.step(noise_pred, timestep, latents)
        alpha_to = scheduler.final_alpha_cumprod if following < 0 else alphas[following]
        moved = move(latents, noise_pred, alphas[timestep], alpha_to)
        torch.testing.assert_close(moved, expected.prev_sample, rtol=1e-4, atol=1e-5)
        x0 = clean(latents, noise_pred, alphas[timestep])
        torch.testing.assert_close(x0, expected.pred_original_sample, rtol=1e-4, atol=1e-4)
        latents = moved


def test_move_up_agrees_with_the_inverse_scheduler() -> None:
    inverse = DDIMInverseScheduler(**CONFIG)
    inverse.set_timesteps(20)
    latents, noise = randoms(1, 4, 8, 8, count=2)
    expected = inverse.step(noise, 151, latents).prev_sample  # diffusers names the timestep that is arrived at
    alphas = inverse.alphas_cumprod
    torch.testing.assert_close(move(latents, noise, alphas[101], alphas[151]), expected)


@pytest.mark.parametrize(("low", "high"), [(1, 51), (1, 951), (401, 451)])
def test_there_and_back_is_the_identity(low: int, high: int) -> None:
    latents, noise = randoms(1, 4, 8, 8, count=2)
    alphas = DDIMScheduler(**CONFIG).alphas_cumprod
    there = move(latents, noise, alphas[low], alphas[high])
    torch.testing.assert_close(move(there, noise, alphas[high], alphas[low]), latents, rtol=0, atol=2e-5)


def test_subset_begins_at_the_noise_and_leaves_out_the_steps_that_hardly_matter() -> None:
    for stored in range(2, 60):
        assert subset(stored, stored + 3) == subset(stored, stored) == list(range(stored - 1, -1, -1))
        for count in range(1, stored):
            indices = subset(stored, count)
            assert len(indices) == count
            assert indices[0] == stored - 1
            assert indices[-1] > 0
            assert all(a > b for a, b in pairwise(indices))


# Both ways


def schedule(steps: int = T) -> Schedule:
    alphas = DDIMScheduler(**CONFIG).alphas_cumprod
    timesteps = ddim_timesteps(steps, 1000)
    return Schedule(timesteps, alphas[list(timesteps)], alphas[0])


def denoiser(twist: float = 0.0) -> Callable[[Tensor, int], Tensor]:
    """A made-up model without memory between rows; `twist` stands for what FFA would change in its output."""

    def denoise(latents: Tensor, timestep: int) -> Tensor:
        return (latents.roll(1, -1) * 0.7 + latents.tanh() * (timestep / 1000)) + twist * latents.cos()

    return denoise


def inverted(latents: Tensor, steps: int = T, corrections: int = 0) -> Trajectory:
    run = method.invert(denoiser(), latents, schedule(steps), lambda i: nullcontext(), corrections)
    yielded = []
    while True:
        try:
            yielded.append(next(run))
        except StopIteration as stop:
            assert yielded == list(range(1, inversion_calls(steps, corrections) + 1))
            trajectory: Trajectory = stop.value
            return trajectory


def rendered(
    content: Trajectory, strength: Tensor, steps: Sequence[int] | None = None, twist: float = 0.5, **options: Any
) -> list[method.Step]:
    known = len(content.latents)
    return list(
        method.render(
            denoiser(twist), content, schedule(known), steps or subset(known, known), lambda i: nullcontext(),
            strength=strength, **options,
        )
    )  # fmt: skip


def whole(strength: float) -> Tensor:
    return torch.full((1, 1, 8, 8), strength)


def styles(*seeds: int) -> list[tuple[Trajectory, float]]:
    return [(inverted(1.5 * latents_of(seed, 6, 10)), 1 / len(seeds)) for seed in seeds]


def latents_of(seed: int, *size: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(4, 4, generator=generator)
    white = torch.randn(1, 4, *(size or (8, 8)), generator=generator)
    return torch.einsum("dc,bchw->bdhw", mixing, white) + mixing[0].view(1, 4, 1, 1)


def test_corrections_bring_the_bare_way_down_back_to_where_it_began() -> None:
    latents, errors = latents_of(3), []
    for corrections in (0, 1, 2, 4, 50):
        content = inverted(latents, corrections=corrections)
        *_, last = rendered(content, whole(1.0), twist=0.0, residual=0.0)
        expected = move(latents, content.noise[0], schedule().alphas[0], schedule().final_alpha)
        errors.append((last.latents - expected).abs().max().item())
    assert all(worse > 1.5 * better for worse, better in pairwise(errors)), errors
    assert errors[-1] < 1e-4


def test_corrections_of_a_model_that_overshoots_come_to_rest() -> None:
    """Off by d at the end of a move, its estimate is wrong by -1.5 d: unrelaxed, this would never rest."""
    low, high = schedule(2).alphas
    turn = (1 - high).sqrt() - (high / low).sqrt() * (1 - low).sqrt()  # what a move adds of the noise estimate
    run = method.invert(lambda z, _: -1.5 / turn * z, latents_of(3), schedule(2), lambda i: nullcontext(), 30)
    with pytest.raises(StopIteration) as stop:
        while True:
            next(run)
    below, above = stop.value.value.latents
    torch.testing.assert_close(move(below, -1.5 / turn * above, low, high), above)


def test_noise_is_filed_under_the_latents_that_it_was_seen_with() -> None:
    trajectory = inverted(latents_of(0))
    for i, timestep in enumerate(schedule().timesteps):
        assert torch.equal(trajectory.noise[i], denoiser()(trajectory.latents[i], timestep))
    assert torch.equal(trajectory.latents[0], latents_of(0))


@pytest.mark.parametrize("palette", ["both", "end", "adain", "off"])
@pytest.mark.parametrize("steps", [None, [5, 2], [5, 4, 1], [3, 0]])
def test_strength_0_is_the_content_whatever_else_is_set(
    palette: method.PaletteMode, steps: Sequence[int] | None
) -> None:
    content = inverted(latents_of(0))
    options: dict[str, Any] = {"palette": palette, "styles": styles(1), "residual": 0.0, "seed": 3, "colour": 0.8}
    last = rendered(content, whole(0.0), steps, **options)[-1]
    assert torch.equal(last.latents, content.latents[0])


def test_where_a_mask_is_0_the_content_stays() -> None:
    content, strength = inverted(latents_of(0)), whole(1.2)
    strength[..., :4] = 0
    last = rendered(content, strength, palette="both", styles=styles(1), seed=1)[-1]
    assert torch.equal(last.latents[..., :4], content.latents[0][..., :4])
    assert (last.latents[..., 4:] - content.latents[0][..., 4:]).abs().mean() > 0.1


@pytest.mark.parametrize("steps", [None, [5, 3, 1]])
def test_a_model_that_says_what_it_said_lands_on_the_trajectory(steps: Sequence[int] | None) -> None:
    content = inverted(latents_of(0))
    found = rendered(content, whole(1.0), steps, twist=0.0)
    for step, following in zip(found, [*(step.index for step in found[1:]), 0], strict=True):
        torch.testing.assert_close(step.latents, content.latents[following], rtol=1e-4, atol=1e-5)


def test_a_batch_is_its_rows_alone() -> None:
    alone = [inverted(latents_of(seed)) for seed in range(4)]
    batch = inverted(torch.cat([latents_of(seed) for seed in range(4)]))
    one = inverted(latents_of(9))
    options: dict[str, Any] = {"palette": "both", "seed": 5, "colour": 0.6, "styles": [(one, 1.0)]}
    together = rendered(batch, whole(1.0), **options)[-1].latents
    for row, content in enumerate(alone):
        torch.testing.assert_close(
            together[row : row + 1], rendered(content, whole(1.0), **options)[-1].latents, rtol=1e-4, atol=1e-5
        )


def test_going_on_from_a_step_gives_the_same_end() -> None:
    content = inverted(latents_of(0))
    options: dict[str, Any] = {"palette": "both", "seed": 5, "styles": styles(1, 2)}
    steps = rendered(content, whole(0.7), [5, 3, 2, 0], **options)
    later = rendered(content, whole(0.7), [2, 0], begin=steps[1].latents, **options)
    assert torch.equal(later[-1].latents, steps[-1].latents)


def test_the_window_says_where_the_hook_applies() -> None:
    content, seen = inverted(latents_of(0)), []

    def fuse(index: int) -> nullcontext[None]:
        seen.append(index)
        return nullcontext()

    steps = list(range(T - 1, -1, -1))
    list(method.render(denoiser(), content, schedule(), steps, fuse, strength=whole(1.0), window=(0.2, 0.6)))
    assert seen == [4, 3, 2]


def test_gradients_reach_the_foreseen_latents_of_their_own_step_alone() -> None:
    content, twist = inverted(latents_of(0)), torch.tensor(0.5, requires_grad=True)

    def denoise(latents: Tensor, timestep: int) -> Tensor:
        assert not latents.requires_grad
        return denoiser()(latents, timestep) + twist * latents.cos()

    steps = method.render(denoise, content, schedule(), [5, 3], lambda i: nullcontext(), strength=whole(1.0))
    for step in steps:
        assert step.denoised.requires_grad
        assert not step.latents.requires_grad


def test_less_residual_at_strength_1_and_all_of_it_at_0() -> None:
    content = inverted(latents_of(0))
    full, none = (rendered(content, whole(1.0), [5], residual=share)[-1].latents for share in (1.0, 0.0))
    half = rendered(content, whole(0.5), [5], residual=0.0)[-1].latents
    assert (full - none).abs().mean() > 0.01
    torch.testing.assert_close(half, (full + none) / 2, rtol=1e-4, atol=1e-4)


def test_adain_gives_the_start_the_moments_of_the_style() -> None:
    content, ((style, _),) = inverted(latents_of(0)), styles(1)
    start = method._start(content, schedule(), 5, whole(1.0), [(style, 1.0)], "adain", 1.0, None)
    for moment in (torch.mean, torch.std):
        torch.testing.assert_close(
            moment(start.flatten(2), dim=2), moment(style.latents[5].flatten(2), dim=2), rtol=1e-3, atol=1e-3
        )


def test_a_seed_draws_a_variation_and_0_is_one() -> None:
    content = inverted(latents_of(0))
    plain, zero, again, one = (rendered(content, whole(1.0), seed=seed)[-1].latents for seed in (None, 0, 0, 1))
    assert torch.equal(zero, again)
    assert not torch.allclose(plain, zero)
    assert not torch.allclose(zero, one)


def test_a_seed_changes_the_noise_and_not_the_picture_in_it() -> None:
    """At a low noise level a share of the whole latents would drown the photograph."""
    known, levels = inverted(latents_of(0)), schedule()
    content = Trajectory(known.latents, torch.zeros_like(known.noise))
    low, high = (method._start(content, levels, i, whole(1.0), (), "off", 1.0, 0) - content.latents[i] for i in (1, 5))
    torch.testing.assert_close(
        low / (1 - levels.alphas[1]).sqrt(), high / (1 - levels.alphas[5]).sqrt(), rtol=1e-3, atol=1e-4
    )


# Palette


def statistics(smooth: Tensor) -> tuple[Tensor, Tensor]:
    return smooth[0].flatten(1).mean(1), torch.cov(smooth[0].flatten(1))


def test_the_palette_arrives_in_the_smoothed_latents() -> None:
    content, style = latents_of(0, 40, 40), latents_of(1, 30, 50)
    shift = palette_shift(content, style)
    mean, covariance = statistics(smoothed(style))
    mean_before, covariance_before = statistics(smoothed(content))
    mean_after, covariance_after = statistics(smoothed(content) + shift)
    torch.testing.assert_close(mean_after, mean, atol=1e-3, rtol=1e-3)
    assert (covariance_after - covariance).norm() < 0.25 * (covariance_before - covariance).norm()
    assert (mean_before - mean).norm() > 0.1


def test_faint_detail_stays_and_an_edge_gets_no_halo() -> None:
    content = latents_of(0, 1, 2).repeat_interleave(20, 2).repeat_interleave(10, 3)  # (1, 4, 20, 20), two flat halves
    style = 0.3 * latents_of(1, 20, 20)
    shift = palette_shift(content, style)
    jump = (shift[..., 0] - shift[..., -1]).abs().max()
    assert jump > 0.5
    across = (shift - shift[..., :1]).abs()[..., :10].max(), (shift - shift[..., -1:]).abs()[..., 10:].max()
    assert max(across) < 0.2 * jump  # a plain mean over 3 x 3 leaves a third of the jump
    checkers = torch.ones(20, 20)
    checkers[::2, ::2] = checkers[1::2, 1::2] = -1
    finer = palette_shift(content + 0.1 * checkers, style)
    torch.testing.assert_close(finer, shift, atol=0.02 * jump.item(), rtol=0)


def test_a_picture_has_its_own_palette_already() -> None:
    content = latents_of(0, 16, 16)
    assert palette_shift(content, content).abs().max() < 1e-5


def test_colour_says_how_much_of_the_palette_is_taken() -> None:
    content, painted = inverted(latents_of(0, 16, 16)), [(inverted(latents_of(1, 16, 16)), 1.0)]
    none, half, all_of_it = (
        rendered(content, torch.ones(1, 1, 16, 16), palette="end", styles=painted, colour=colour)[-1].latents
        for colour in (0.0, 0.5, 1.0)
    )
    without = rendered(content, torch.ones(1, 1, 16, 16), palette="off", styles=painted)[-1].latents
    torch.testing.assert_close(none, without)
    torch.testing.assert_close(half, (none + all_of_it) / 2)
    mean = statistics(smoothed(painted[0][0].latents[0]))[0]
    torch.testing.assert_close(statistics(smoothed(all_of_it))[0], mean, atol=2e-2, rtol=2e-2)


def test_a_flat_picture_takes_the_mean_without_blowing_up() -> None:
    style = latents_of(1, 16, 16)
    moved = palette_shift(torch.zeros(1, 4, 16, 16), style)
    torch.testing.assert_close(moved.mean((2, 3)), smoothed(style).mean((2, 3)), atol=1e-4, rtol=1e-4)
    assert moved.std() < 10
