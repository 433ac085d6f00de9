"""The teacher's pictures, and a step of the training that follows them at tiny sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC, DDIMScheduler, UNet2DConditionModel

from magicstyle_core.hooks import Fusing
from magicstyle_core.method import Trajectory, clean
from training.distil import CROP, draw_group, step_losses
from training.fusion import inverted, live_render
from training.teacher import ALIKE, SIZE, Teacher, teach
from training.train import TEMPERATURE, schedule_of


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return Teacher()


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A folder of packed pictures: slopes of light as photographs, stripes as styles."""
    slope = np.linspace(0, 255, SIZE).astype(np.uint8)
    photographs = np.broadcast_to(slope[:, None, None], (2, SIZE, SIZE, 3))
    stripes = np.where(np.arange(SIZE) // 8 % 2, 230, 20).astype(np.uint8)[:, None, None] * np.array(
        [1, 0, 1], np.uint8
    )
    np.save(tmp_path / "photographs.npy", photographs)
    np.save(tmp_path / "paintings.npy", np.broadcast_to(stripes, (2, SIZE, SIZE, 3)))
    return tmp_path


def test_the_teacher_draws_one_photograph_differently_in_each_style(teacher: Teacher) -> None:
    plain, noisy = torch.full((1, 3, SIZE, SIZE), 0.8), torch.rand(1, 3, SIZE, SIZE) * 2 - 1
    first, second = (teacher.drawn(plain, code) for code in teacher.codes(torch.cat([plain, noisy])))
    assert first.shape == (1, 3, SIZE, SIZE)
    assert first.abs().max() <= 1
    assert (first - second).abs().mean() > 0.05
    assert torch.equal(first, teacher.drawn(plain, teacher.codes(plain)[0]))


def test_a_group_is_drawn_once_and_read_in_windows(packed: Path, vae: AutoencoderDC) -> None:
    teach(packed, vae, groups=1, seed=3)
    (path,) = (packed / "taught").iterdir()
    written = path.stat().st_mtime_ns
    teach(packed, vae, groups=1, seed=3)
    assert path.stat().st_mtime_ns == written
    with np.load(path) as group:
        assert group["wanted"].shape == (ALIKE, ALIKE, 4, SIZE // 8, SIZE // 8)
    content, style, wanted = draw_group(packed, np.random.default_rng(0))
    assert content.shape == style.shape == wanted.shape[1:] == (ALIKE, 4, CROP, CROP)
    assert not torch.equal(content, wanted[0])


@pytest.fixture
def group() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Contents, styles and what is wanted, as `draw_group` gives them, with as many channels as the tiny UNet."""
    latents = torch.randn(2 * ALIKE + ALIKE**2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    return latents[:ALIKE], latents[ALIKE : 2 * ALIKE], latents[2 * ALIKE :].unflatten(0, (ALIKE, ALIKE))


def test_the_loss_of_one_group_falls(
    unet: UNet2DConditionModel, scheduler: DDIMScheduler, group: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
) -> None:
    content, style, wanted = group
    schedule, optimiser, totals = schedule_of(scheduler, "cpu"), torch.optim.AdamW(unet.parameters(), 3e-3), []
    known = inverted(unet, schedule, torch.cat([content, style]))
    for _ in range(12):
        torch.manual_seed(0)  # the distance between patches draws directions
        losses = step_losses(unet, schedule, known, wanted, torch.ones(ALIKE**2, 1, 1, 1), step=2, reached=0.5)
        total = torch.stack(list(losses.values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(total.item())
    assert set(losses) == {"taught", "patches", "references"}
    assert totals[-1] < 0.9 * totals[0]


def test_a_group_is_rendered_as_its_pairs_are(
    unet: UNet2DConditionModel, scheduler: DDIMScheduler, group: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
) -> None:
    """What one step of a group foresees for each pair is what the render of this pair alone foresees."""
    content, style, _ = group
    schedule = schedule_of(scheduler, "cpu")
    known = inverted(unet, schedule, torch.cat([content, style]))
    how = Fusing(torch.ones(1, 1, 8, 8), temperature=TEMPERATURE)
    first = len(schedule.timesteps) - 1
    by_itself = clean(known.latents[first, :ALIKE], known.noise[first, :ALIKE], schedule.alphas[first])
    alone = torch.empty(ALIKE, *content.shape)
    for s in range(ALIKE):
        for c in range(ALIKE):
            rows = [c, ALIKE + s]
            pair = Trajectory(known.latents[:, rows], known.noise[:, rows])
            step, _ = next(live_render(unet, schedule, pair, how))
            alone[s, c] = step.denoised[0] + content[c] - by_itself[c]
    losses = step_losses(unet, schedule, known, alone, torch.ones(ALIKE**2, 1, 1, 1), step=first, reached=0.0)
    assert losses["taught"].item() == pytest.approx(0, abs=1e-4)
