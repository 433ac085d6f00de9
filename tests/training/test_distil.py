"""The teacher's pictures, and a step of the training that follows them at tiny sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderDC, DDIMScheduler, UNet2DConditionModel

from magicstyle_core.hooks import Fusing
from magicstyle_core.method import Trajectory
from training.distil import CROP, HELD_OUT, draw_group, groups, step_losses, with_own_style
from training.fusion import inverted, live_render
from training.teacher import ALIKE, SIZE, Teacher, teach
from training.train import STEPS, TEMPERATURE, schedule_of

Group = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


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
    content, style, wanted = draw_group(path, np.random.default_rng(0))
    assert content.shape == style.shape == wanted.shape[1:] == (ALIKE, 4, CROP, CROP)
    assert not torch.equal(content, wanted[0])


def test_groups_to_look_at_are_never_learnt(tmp_path: Path) -> None:
    (tmp_path / "taught").mkdir()
    for number in range(HELD_OUT + 1):
        (tmp_path / "taught" / f"00-{number:04}.npz").touch()
    learnt, looked_at = (groups(tmp_path, held_out=held_out) for held_out in (False, True))
    assert [path.stem for path in looked_at] == ["00-0000", f"00-{HELD_OUT:04}"]
    assert len(learnt) == HELD_OUT - 1
    assert not set(learnt) & set(looked_at)


@pytest.fixture
def group() -> Group:
    """Contents, styles and what is wanted, as `draw_group` gives them, with as many channels as the tiny UNet."""
    latents = torch.randn(2 * ALIKE + ALIKE**2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    return latents[:ALIKE], latents[ALIKE : 2 * ALIKE], latents[2 * ALIKE :].unflatten(0, (ALIKE, ALIKE))


def test_the_losses_of_one_group_fall(unet: UNet2DConditionModel, scheduler: DDIMScheduler, group: Group) -> None:
    content, style, wanted = group
    schedule, optimiser = schedule_of(scheduler, "cpu"), torch.optim.AdamW(unet.parameters(), 3e-3)
    known, totals = inverted(unet, schedule, torch.cat([content, style])), []
    for _ in range(8):
        torch.manual_seed(0)  # the distance between patches draws directions
        renders = []
        for losses in step_losses(unet, schedule, known, wanted, torch.ones(ALIKE, ALIKE), 1.0):
            assert set(losses) == {"taught", "patches", "references"}
            total = torch.stack(list(losses.values())).sum()
            optimiser.zero_grad()
            total.backward()
            optimiser.step()
            renders.append(total.item())
        totals.append(renders)
    assert len(totals[0]) == STEPS - 1
    assert sum(totals[-1]) < 0.9 * sum(totals[0])


def test_a_group_is_rendered_as_its_pairs_are(
    unet: UNet2DConditionModel, scheduler: DDIMScheduler, group: Group
) -> None:
    """What the first step of a group foresees for each pair is what the render of this pair alone foresees."""
    content, style, _ = group
    schedule = schedule_of(scheduler, "cpu")
    known = inverted(unet, schedule, torch.cat([content, style]))
    how = Fusing(torch.ones(1, 1, 8, 8), temperature=TEMPERATURE)
    alone = torch.empty(ALIKE, *content.shape)
    for s in range(ALIKE):
        for c in range(ALIKE):
            rows = [c, ALIKE + s]
            pair = Trajectory(known.latents[:, rows], known.noise[:, rows])
            step, (by_itself, _) = next(live_render(unet, schedule, pair, torch.tensor([0]), torch.tensor([1]), how))
            alone[s, c] = step.denoised[0] + content[c] - by_itself
    losses = next(step_losses(unet, schedule, known, alone, torch.ones(ALIKE, ALIKE), 1.0))
    assert losses["taught"].item() == pytest.approx(0, abs=1e-4)


def test_a_photograph_as_its_own_style_has_to_stay(
    unet: UNet2DConditionModel, scheduler: DDIMScheduler, group: Group
) -> None:
    content, *_ = group
    style, wanted, drawn = with_own_style(*group)
    assert torch.equal(style[0], content[0])
    assert torch.equal(wanted[0, 0], content[0])
    assert torch.equal(style[1:], group[1][1:])
    assert drawn.tolist() == [[1, 0, 0, 0], [1] * 4, [1] * 4, [1] * 4]
    schedule = schedule_of(scheduler, "cpu")
    known = inverted(unet, schedule, torch.cat([content, style]))

    def taught(wanted: torch.Tensor) -> float:
        return next(step_losses(unet, schedule, known, wanted, drawn, 1.0))["taught"].item()

    undrawn, changed = wanted.clone(), wanted.clone()
    undrawn[0, 1:] += 5  # nobody has drawn these
    changed[0, 0] += 5
    assert taught(undrawn) == taught(wanted) != taught(changed)
