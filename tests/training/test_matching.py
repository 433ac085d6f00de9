"""A step of the training that draws with what FFA looks at, at tiny sizes."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel

from magicstyle_core.hooks import record
from magicstyle_core.method import Trajectory
from magicstyle_core.settings import FusionSettings
from magicstyle_core.transport import moments, transported
from training.fusion import fine_layers, fusing, inverted, live_render, noise_estimate
from training.matching import (
    ALIKE,
    by_place,
    change_wanted,
    set_queries_and_keys,
    set_values,
    step_losses,
    straight_lines,
    with_one,
)
from training.train import STEPS, schedule_of


@pytest.fixture
def latents() -> torch.Tensor:
    """Those of ALIKE photographs, then of ALIKE styles, with as many channels as the tiny UNet."""
    return torch.randn(2 * ALIKE, 4, 8, 8, generator=torch.Generator().manual_seed(1))


def test_the_losses_of_one_batch_fall(
    unet: UNet2DConditionModel, scheduler: DDIMScheduler, latents: torch.Tensor
) -> None:
    schedule, optimiser = schedule_of(scheduler, "cpu"), torch.optim.AdamW(unet.parameters(), 3e-3)
    set_queries_and_keys(unet, schedule, latents)
    known, totals = inverted(unet, schedule, latents), []
    lines = straight_lines(unet, schedule, [latents])
    for _ in range(8):
        torch.manual_seed(0)  # the distance between patches draws directions
        renders = []
        for losses in step_losses(unet, schedule, known, lines, 1.0, 0.5, 0.6, fine_layers(unet)):
            assert set(losses) == {"taught", "patches", "references", "told"}
            total = torch.stack(list(losses.values())).sum()
            optimiser.zero_grad()
            total.backward()
            optimiser.step()
            renders.append(total.item())
        totals.append(renders)
    assert len(totals[0]) == STEPS - 1
    assert sum(totals[-1]) < 0.9 * sum(totals[0])


def test_what_is_wanted_lies_between_the_moments_and_the_places_looked_at() -> None:
    generator = torch.Generator().manual_seed(0)
    content, style = torch.randn(2, 3, 4, 5, 5, generator=generator) + torch.tensor([0.0, 3.0]).view(2, 1, 1, 1, 1)
    places = torch.stack([torch.randperm(25, generator=generator) for _ in range(3)])
    paid = torch.nn.functional.one_hot(places, 25).float()[:, None]
    looked_at = torch.stack([row.flatten(1)[:, where] for row, where in zip(style, places, strict=True)]).mT
    none, part, whole = (by_place(content + change_wanted(content, style, paid, strokes)) for strokes in (0, 0.6, 1))
    torch.testing.assert_close(whole, looked_at, rtol=1e-4, atol=1e-4)  # every place once: its moments are the style's
    moved = by_place(content)
    for _ in range(2):  # before and after mixing; the floor of covariances lets the second map move a little
        moved = transported(moved, moments(moved), moments(by_place(style)))
    torch.testing.assert_close(none, moved, rtol=1e-4, atol=1e-4)
    assert torch.corrcoef(torch.stack([(0.4 * none + 0.6 * whole).flatten(), part.flatten()]))[0, 1] > 0.98
    torch.testing.assert_close(part.mean(1), style.mean((2, 3)))
    contrast = [latents.var(1).sum() for latents in (part, 0.4 * none + 0.6 * whole, by_place(style))]
    assert abs(contrast[0] / contrast[2] - 1) < 0.1  # a mixture has less contrast than either; this one has the style's
    assert contrast[1] / contrast[2] < 0.7


def test_a_picture_that_is_its_own_style_has_to_stay() -> None:
    content, style = torch.randn(2, 2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    style[1] = content[1]
    change = change_wanted(content, style, torch.full((2, 1, 25, 25), 1 / 25), 0.6)
    assert change[0].abs().min() > 0
    assert not change[1].any()


def test_a_place_looks_at_itself_in_its_own_picture(
    unet: UNet2DConditionModel, scheduler: DDIMScheduler, latents: torch.Tensor
) -> None:
    schedule, layers = schedule_of(scheduler, "cpu"), fine_layers(unet)
    set_queries_and_keys(unet, schedule, latents)
    with record(unet, layers) as seen:
        noise_estimate(unet, schedule, latents, schedule.timesteps[2])
    for layer in layers:
        attn, hidden_states = unet.get_submodule(layer.name), seen[layer.name]
        logits = attn.to_q(hidden_states) @ attn.to_k(hidden_states).mT / hidden_states.shape[2] ** 0.5
        logits = FusionSettings().temperature * logits
        paid = (logits - logits.logsumexp(1, keepdim=True)).softmax(2)
        assert paid.diagonal(dim1=1, dim2=2).mean() > 0.9


def test_straight_lines_tell_what_is_there_to_be_told(
    unet: UNet2DConditionModel, scheduler: DDIMScheduler, latents: torch.Tensor
) -> None:
    """On the pictures that they are fitted to they come nearer than the latents' own mean, for each of the layers."""
    schedule, layers = schedule_of(scheduler, "cpu"), fine_layers(unet)
    lines = straight_lines(unet, schedule, [latents])
    assert list(lines) == [layer.name for layer in layers]
    known = inverted(unet, schedule, latents)
    with record(unet, layers) as seen, torch.no_grad():
        noise_estimate(unet, schedule, known.latents[1], schedule.timesteps[1])
    places = by_place(latents)
    for name, line in lines.items():
        told = with_one(seen[name]) @ line
        assert (told - places).square().mean() < 0.9 * (places - places.mean((0, 1))).square().mean()


def test_values_become_what_is_told_and_the_layer_puts_out_the_same(
    unet: UNet2DConditionModel, scheduler: DDIMScheduler, latents: torch.Tensor
) -> None:
    schedule, layers = schedule_of(scheduler, "cpu"), fine_layers(unet)
    lines = straight_lines(unet, schedule, [latents])
    with record(unet, layers) as seen:
        before = noise_estimate(unet, schedule, latents, schedule.timesteps[2])
    set_values(unet, lines)
    torch.testing.assert_close(noise_estimate(unet, schedule, latents, schedule.timesteps[2]), before)
    for layer in layers:
        values = unet.get_submodule(layer.name).to_v(seen[layer.name])
        line = lines[layer.name][:-1]  # (hidden channels, latent channels)
        told = seen[layer.name] @ line / line.norm(dim=0)
        torch.testing.assert_close(values[..., : line.shape[1]], told, rtol=1e-4, atol=1e-4)


def test_a_batch_is_rendered_as_its_pairs_are(
    unet: UNet2DConditionModel, scheduler: DDIMScheduler, latents: torch.Tensor
) -> None:
    """The first step of a batch foresees for a pair what the render of this pair alone foresees."""
    schedule, layers = schedule_of(scheduler, "cpu"), fine_layers(unet)
    known, places = inverted(unet, schedule, latents), torch.arange(ALIKE)
    contents, styles = places.repeat(ALIKE), ALIKE + places.repeat_interleave(ALIKE)
    how = fusing(torch.ones(1, 1, 8, 8))
    together, _ = next(live_render(unet, schedule, known, contents, styles, how, layers))
    for n, rows in enumerate(zip(contents.tolist(), styles.tolist(), strict=True)):
        pair = Trajectory(known.latents[:, list(rows)], known.noise[:, list(rows)])
        alone, _ = next(live_render(unet, schedule, pair, torch.tensor([0]), torch.tensor([1]), how, layers))
        torch.testing.assert_close(alone.denoised[0], together.denoised[n], rtol=1e-4, atol=1e-5)
