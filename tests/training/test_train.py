"""A step of the recipe at tiny sizes: it learns, goes on where it stopped, and renders as the engine does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC, DDIMScheduler, UNet2DConditionModel
from PIL import Image

from magicstyle_core import FusionSettings, InversionSettings, StyleEngine
from magicstyle_core.hooks import Fusing
from magicstyle_core.pixels import to_tensor
from magicstyle_core.plan import plan
from training.fusion import fine_layers, fusing, inverted, live_render
from training.judge import Judge
from training.run import Run
from training.train import (
    batch_of,
    draw_strengths,
    round_trip_loss,
    schedule_of,
    step_losses,
)

Models = tuple[UNet2DConditionModel, AutoencoderDC, Judge, DDIMScheduler]


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Two pictures and two style pictures, the second of which is its own style."""
    content, style = torch.rand(2, 2, 3, 80, 80, generator=torch.Generator().manual_seed(2)) * 2 - 1
    style[1] = content[1]
    return content, style


def test_the_loss_of_one_batch_falls(
    unet: UNet2DConditionModel,
    vae: AutoencoderDC,
    judge: Judge,
    scheduler: DDIMScheduler,
    pair: tuple[torch.Tensor, torch.Tensor],
) -> None:
    schedule, optimiser, totals = schedule_of(scheduler, "cpu"), torch.optim.AdamW(unet.parameters(), 3e-3), []
    for _ in range(32):
        torch.manual_seed(0)  # the judge draws directions
        batch = batch_of(unet, vae, judge, schedule, *pair)
        losses = step_losses(unet, vae, judge, schedule, batch, torch.ones(2, 1, 1, 1), [2, 4])
        total = torch.stack(list(losses.values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(total.item())
    assert set(losses) == {"style", "latent style", "content", "identity", "lattice", "references"}
    assert all(loss > 0 for loss in losses.values())
    assert totals[-1] < 0.8 * totals[0]


def test_the_same_inversions_serve_other_pairs(
    unet: UNet2DConditionModel,
    vae: AutoencoderDC,
    judge: Judge,
    scheduler: DDIMScheduler,
    pair: tuple[torch.Tensor, torch.Tensor],
) -> None:
    content, style = pair
    schedule = schedule_of(scheduler, "cpu")
    moved = batch_of(unet, vae, judge, schedule, content, style).with_styles_moved()
    wanted = batch_of(unet, vae, judge, schedule, content, style.roll(1, 0))
    assert torch.equal(moved.style, wanted.style)
    assert torch.allclose(moved.known.latents, wanted.known.latents, atol=1e-5)
    for seen, seen_anew in ((moved.colour, wanted.colour), (moved.grey, wanted.grey)):
        assert torch.allclose(seen.style["relu3_3"], seen_anew.style["relu3_3"], atol=1e-5)


def test_gradients_flow_through_the_judged_steps_alone(unet: UNet2DConditionModel, scheduler: DDIMScheduler) -> None:
    content, style = torch.randn(2, 1, 4, 8, 8)
    how = Fusing(torch.ones(1, 1, 8, 8))
    schedule = schedule_of(scheduler, "cpu")
    known = inverted(unet, schedule, torch.cat([content, style]))
    contents, styles = torch.tensor([0]), torch.tensor([1])
    steps = list(live_render(unet, schedule, known, contents, styles, how, fine_layers(unet), learn_at={1, 3}))
    assert [step.index for step, _ in steps if step.denoised.requires_grad] == [3, 1]
    assert not any(step.latents.requires_grad for step, _ in steps)


def test_training_renders_as_the_engine_does() -> None:
    engine = StyleEngine.load("mini", device="cpu", dtype="fp32")
    engine.bank_dtype = torch.float32  # in 16 bits, as it comes, the two are 59 dB apart
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    settings = FusionSettings(detail=0.0, strength=0.8)
    small = InversionSettings(size=64, steps=4)
    content, style = (engine.invert(Image.fromarray(picture), small) for picture in pixels)
    engine.stylize(content, style, settings)
    model, wish = engine.model, plan(engine.model, content, style, settings)
    by_engine = engine.store.remembered(content.session, wish.history[-1])
    assert by_engine is not None
    latents = torch.cat([model.encode(to_tensor(picture)) for picture in pixels])
    strength = latents.new_full((1, 1, *latents.shape[2:]), 0.8)
    how = fusing(strength)
    layers = fine_layers(model.unet)
    first, second, schedule = torch.tensor([0]), torch.tensor([1]), model.schedule(4)
    with torch.no_grad():
        known = inverted(model.unet, schedule, latents)
        *_, (last, _) = live_render(model.unet, schedule, known, first, second, how, layers)
    difference = model.decode(last.latents) - model.decode(by_engine)
    assert 10 * torch.log10(4 / difference.square().mean()) > 90


def test_the_decoder_learns_only_when_it_may_and_the_round_trip_with_it(
    unet: UNet2DConditionModel,
    vae: AutoencoderDC,
    judge: Judge,
    scheduler: DDIMScheduler,
    pair: tuple[torch.Tensor, torch.Tensor],
    tmp_path: Path,
) -> None:
    schedule = schedule_of(scheduler, "cpu")
    run = Run({"unet": unet, "vae": vae}, {"unet": 1e-3, "vae.decoder": 1e-2}, tmp_path / "run.pt", 10)
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    batch = batch_of(unet, vae, judge, schedule, *pair)
    trips = []
    for learns in (False, True, True, True, True, True):
        vae.decoder.requires_grad_(learns)
        losses = step_losses(unet, vae, judge, schedule, batch, torch.ones(2, 1, 1, 1), [3])
        trips.append(round_trip_loss(vae, judge, batch))
        run.update(torch.stack([*losses.values(), trips[-1]]).sum())
        if not learns:
            assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())
    moved = {name.split(".")[0] for name, value in vae.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"decoder"}
    assert trips[-1] < trips[0]


def test_strengths_are_mostly_one() -> None:
    strengths = draw_strengths(np.random.default_rng(0), 1000)
    assert strengths.shape == (1000, 1, 1, 1)
    assert 0.7 < (strengths == 1).float().mean() < 0.9
    assert strengths.min() >= 0.1
    assert strengths.max() <= 1.5


def test_a_run_goes_on_where_it_stopped(unet: UNet2DConditionModel, tmp_path: Path) -> None:
    def step(run: Run) -> None:
        run.update(sum(parameter.square().sum() for parameter in run.parameters))  # type: ignore[arg-type]

    first = Run({"unet": unet}, {"unet": 1e-3}, tmp_path / "run.pt", 10)
    step(first)
    first.save()
    step(first)
    again = Run({"unet": unet}, {"unet": 1e-3}, tmp_path / "run.pt", 10)
    assert (again.step, again.seconds > 0) == (1, True)
    step(again)
    for mine, theirs in zip(again.average.parameters(), first.average.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)
    assert not list(tmp_path.glob("*.partial"))
