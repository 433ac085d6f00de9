"""The diffusion model learns by FFA what a feed-forward stylizer does, compared as latents.

    python -m training.data    --data FOLDER --paintings PAINTINGS
    python -m training.teacher --data FOLDER --groups 200
    python -m training.distil  --data FOLDER --minutes 120 [--device cuda]

A group that the teacher has drawn (training.teacher) is inverted once, and every photograph of it is rendered in every
style of it. At each step of the renders the clean latents that the model foresees are compared with the teacher's. A
style gets there by FFA alone: there is no palette, and nobody tells the model the teacher's code. Neither decoder nor
judge takes part. What has learnt so wants `t_max` T_MAX in its model_index.json. Stop it at any time; the same command
goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderDC, DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from magicstyle_core.hooks import Fusing
from magicstyle_core.method import Schedule, Trajectory
from training.fusion import inverted, live_render
from training.judge import latent_style
from training.run import Run
from training.teacher import ALIKE
from training.train import SHEET_EVERY, STEPS, TEMPERATURE, draw_strengths, schedule_of, sheet

CROP = 20  # latents along a side, 160 pixels: what a step costs grows with its square
RIM = 2  # latents that are not compared: convolutions tell where the edge is, and a render's margin hides it
HELD_OUT, MEASURED = 20, 6  # every so many groups are not learnt, and as many of them are measured
OWN_STYLE = 0.5  # share of groups with a photograph as its own style
T_MAX = 250  # as noisy as the inversion gets; 1000 and 500 learnt less in as many steps (docs/training.md)
RATE = 4e-4  # 1e-3 learnt no faster, and with other weights of the losses it unlearnt
# Weights of the losses: with these the others are a tenth of the first or less. With patches weighing 4, or VGG16's
# textures beside them, or how much detail is where, less of the teacher was learnt and texture came no nearer.
TAUGHT, PATCHES, REFERENCES = 4.0, 1.0, 2.0


def groups(data: Path, *, held_out: bool) -> list[Path]:
    """Files that the teacher has written so far; every HELD_OUTth is for looking, never for learning."""
    paths = sorted((data / "taught").glob("*.npz"))
    return [path for path in paths if (int(path.stem[-4:]) % HELD_OUT == 0) == held_out]


def draw_group(path: Path, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Windows of one group's latents: contents, styles (ALIKE, channels, CROP, CROP), and what is wanted,
    (ALIKE styles, ALIKE contents, channels, CROP, CROP)."""
    with np.load(path) as group:
        content, style, wanted = (torch.from_numpy(group[name]).float() for name in ("content", "style", "wanted"))
    (row, column), (row_s, column_s) = rng.integers(0, content.shape[-1] - CROP + 1, (2, 2))
    return (
        content[..., row : row + CROP, column : column + CROP],
        style[..., row_s : row_s + CROP, column_s : column_s + CROP],
        wanted[..., row : row + CROP, column : column + CROP],
    )


def with_own_style(content: Tensor, style: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The group with its first content in the place of its first style, where nothing may change.

    Returns:
        styles, what is wanted, and which pairs somebody has drawn, (ALIKE styles, ALIKE contents).
    """
    style, wanted, drawn = style.clone(), wanted.clone(), torch.ones(ALIKE, ALIKE)
    style[0], wanted[0, 0] = content[0], content[0]
    drawn[0, 1:] = 0
    return style, wanted, drawn


def inner(latents: Tensor) -> Tensor:
    return latents[..., RIM:-RIM, RIM:-RIM]


def step_losses(
    unet: UNet2DConditionModel,
    schedule: Schedule,
    known: Trajectory,
    wanted: Tensor,
    drawn: Tensor,
    strength: float,
) -> Iterator[dict[str, Tensor]]:
    """The losses of each step of a group's renders by name, weighted; their sum is what to minimise.

    A render adds what the content's own way down has lost, so the latents that it is on its way to at a step are
    z_c + x0(target) - x0(content), and those are compared. The weights may change between the steps.

    Args:
        known: the inversions of ALIKE contents, then of ALIKE styles.
        wanted: latents of each content in each style, (ALIKE styles, ALIKE contents, channels, height, width).
        drawn: 1 where `wanted` is to be learnt, else 0, (ALIKE styles, ALIKE contents).
    """
    places = torch.arange(ALIKE, device=wanted.device)
    contents, styles = places.repeat(ALIKE), ALIKE + places.repeat_interleave(ALIKE)
    clean_latents = known.latents[0]  # (2 * ALIKE, channels, height, width)
    content, counts = inner(clean_latents[contents]), drawn.flatten() / drawn.sum()
    change = min(strength, 1.0) * (inner(wanted).flatten(0, 1) - content)  # (ALIKE * ALIKE, channels, height, width)
    size = (counts * change.abs().mean((1, 2, 3))).sum()
    how = Fusing(content.new_full((1, 1, *wanted.shape[3:]), strength), temperature=TEMPERATURE)
    for step, references in live_render(unet, schedule, known, contents, styles, how, range(1, STEPS)):
        if step.index == 0:
            break
        reached = inner(step.denoised - references[contents])
        yield {
            "taught": TAUGHT * (counts * (reached - change).abs().mean((1, 2, 3))).sum() / size,
            "patches": PATCHES * (counts * latent_style(content + reached, content + change)).sum(),
            "references": REFERENCES * (references - clean_latents).square().mean(),
        }


def distil(data: Path, start: Path, *, minutes: float, device: str) -> None:
    """Trains from the model in folder `start`; checkpoints, log and sheets go to `data`."""
    vae = AutoencoderDC.from_pretrained(start / "vae").to(device, memory_format=torch.channels_last).eval()
    unet = UNet2DConditionModel.from_pretrained(start / "unet").to(device, memory_format=torch.channels_last)
    schedule = schedule_of(DDIMScheduler.from_pretrained(start / "scheduler"), device, T_MAX)
    run = Run({"unet": unet}, {"unet": RATE}, data / "distil.pt", minutes)
    inverting = run.average["unet"]  # it moves slowly; by the weights that learn, even a single group stayed unlearnt
    rng = run.generator()
    sheets = int(run.seconds / 60 / SHEET_EVERY) + 1
    while run.fraction < 1:
        paths = groups(data, held_out=False)  # anew each time: the teacher may still be drawing
        content, style, wanted = draw_group(paths[rng.integers(len(paths))], rng)
        drawn = torch.ones(ALIKE, ALIKE)
        if rng.random() < OWN_STYLE:
            style, wanted, drawn = with_own_style(content, style, wanted)
        known = inverted(inverting, schedule, torch.cat([content, style]).to(device))
        strength = draw_strengths(rng, 1).item()
        for losses in step_losses(unet, schedule, known, wanted.to(device), drawn.to(device), strength):
            run.update(torch.stack(list(losses.values())).sum())
            run.report(losses)
        if run.save_is_due:
            run.save()
            print("held out, by step:", taught_held_out(data, inverting, schedule, device), flush=True)
        if run.seconds / 60 >= sheets * SHEET_EVERY:
            sheet(data, inverting, vae, schedule, f"{round(run.seconds / 60):04} minutes", device)
            sheets += 1
    run.save()


@torch.no_grad()
def taught_held_out(data: Path, unet: UNet2DConditionModel, schedule: Schedule, device: str) -> list[float]:
    """The difference from what the teacher drew in groups that are not learnt, by step from noise to picture, as a
    share of the photograph's own: 1 = nothing happened."""
    rows = []
    for path in groups(data, held_out=True)[:MEASURED]:
        content, style, wanted = (part.to(device) for part in draw_group(path, np.random.default_rng(0)))
        known = inverted(unet, schedule, torch.cat([content, style]))
        losses = step_losses(unet, schedule, known, wanted, torch.ones(ALIKE, ALIKE, device=device), 1.0)
        rows.append([step["taught"].item() / TAUGHT for step in losses])
    means: list[float] = np.mean(rows, 0).round(3).tolist()
    return means


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.distil", description="The diffusion model learns.")
    parser.add_argument("--data", type=Path, required=True, help="folder of what the teacher drew, and of checkpoints")
    parser.add_argument("--start", type=Path, default=Path("assets/mini"), help="the model to start from")
    parser.add_argument("--minutes", type=float, required=True, help="in all, with those of earlier runs")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    distil(arguments.data, arguments.start, minutes=arguments.minutes, device=arguments.device)


if __name__ == "__main__":
    main()
