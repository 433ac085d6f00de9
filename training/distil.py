"""The diffusion model learns by FFA what a feed-forward stylizer does: whole renders, compared as latents.

    python -m training.data    --data FOLDER --paintings PAINTINGS
    python -m training.teacher --data FOLDER --groups 200
    python -m training.distil  --data FOLDER --minutes 120 [--device cuda]

Each step inverts the photographs and style pictures of a group that the teacher has drawn (training.teacher), renders
every photograph in a style (training.fusion) and compares the clean latents that two of the render's steps foresee with
the teacher's. A style reaches the render by FFA alone: there is no palette, and nobody tells the model the teacher's
code. Neither decoder nor judge takes part. Stop it at any time; the same command goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderDC, DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from magicstyle_core.hooks import Fusing
from magicstyle_core.method import Schedule, Trajectory, clean
from training.fusion import inverted, live_render
from training.judge import latent_style
from training.run import Run
from training.teacher import ALIKE
from training.train import JUDGED, OWN_STYLE, SHEET_EVERY, STEPS, TEMPERATURE, draw_strengths, schedule_of, sheet

CROP = 20  # latents along a side, 160 pixels: what a step costs grows with its square
PAIRINGS = 2  # steps with the same inversions
RATE = 1e-3
# Weights of the losses.
TAUGHT, PATCHES, REFERENCES = 4.0, 1.0, 2.0


def draw_group(data: Path, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Windows of one group's latents: contents, styles (ALIKE, channels, CROP, CROP), and what is wanted,
    (ALIKE styles, ALIKE contents, channels, CROP, CROP)."""
    paths = sorted((data / "taught").glob("*.npz"))  # anew each time: the teacher may still be drawing
    with np.load(paths[rng.integers(len(paths))]) as group:
        content, style, wanted = (torch.from_numpy(group[name]).float() for name in ("content", "style", "wanted"))
    (row, column), (row_s, column_s) = rng.integers(0, content.shape[-1] - CROP + 1, (2, 2))
    return (
        content[..., row : row + CROP, column : column + CROP],
        style[..., row_s : row_s + CROP, column_s : column_s + CROP],
        wanted[..., row : row + CROP, column : column + CROP],
    )


def step_losses(
    unet: UNet2DConditionModel,
    schedule: Schedule,
    known: Trajectory,
    wanted: Tensor,
    strengths: Tensor,
    learn_at: Sequence[int],
) -> dict[str, Tensor]:
    """The losses of one batch by name, weighted; their sum is what to minimise.

    A render adds what the content's own way down has lost, so the latents that it is on its way to at step i are
    z_c + x0(target) - x0(content), and those are compared.

    Args:
        known: the inversions of contents, then of as many styles.
        wanted: latents of each content in its style, (examples, channels, height, width).
        strengths: (examples, 1, 1, 1).
        learn_at: the stored steps that are compared.
    """
    clean_latents = known.latents[0]  # (2 * examples, channels, height, width)
    examples = len(wanted)
    wanted = torch.lerp(clean_latents[:examples], wanted, strengths.clamp(max=1))
    how = Fusing(strengths.expand(-1, 1, *wanted.shape[2:]), temperature=TEMPERATURE)
    losses = dict.fromkeys(("taught", "patches", "references"), wanted.new_zeros(()))
    for step, references in live_render(unet, schedule, known, how, learn_at):
        if step.index not in learn_at:
            continue
        i = step.index
        by_itself = clean(known.latents[i, :examples], known.noise[i, :examples], schedule.alphas[i])
        foreseen = step.denoised + clean_latents[:examples] - by_itself
        for name, loss in {
            "taught": TAUGHT * (foreseen - wanted).abs().mean(),
            "patches": PATCHES * latent_style(foreseen, wanted).mean(),
            "references": REFERENCES * (references - clean_latents).square().mean(),
        }.items():
            losses[name] = losses[name] + loss / len(learn_at)
        if step.index == min(learn_at):
            break  # the rest of the way down would teach nothing
    return losses


def distil(data: Path, start: Path, *, minutes: float, device: str) -> None:
    """Trains from the model in folder `start`; checkpoints, log and sheets go to `data`."""
    vae = AutoencoderDC.from_pretrained(start / "vae").to(device, memory_format=torch.channels_last).eval()
    unet = UNet2DConditionModel.from_pretrained(start / "unet").to(device, memory_format=torch.channels_last)
    schedule = schedule_of(DDIMScheduler.from_pretrained(start / "scheduler"), device)
    run = Run({"unet": unet}, {"unet": RATE}, data / "distil.pt", minutes)
    rng = run.generator()
    sheets = int(run.seconds / 60 / SHEET_EVERY) + 1
    while run.fraction < 1:
        content, style, taught = (part.to(device) for part in draw_group(data, rng))
        own = torch.from_numpy(rng.random(ALIKE) < OWN_STYLE).to(device)
        known = inverted(unet, schedule, torch.cat([content, style]))
        contents = torch.arange(ALIKE)
        for turn in rng.choice(ALIKE, PAIRINGS, replace=False):
            styles = contents.roll(int(turn))
            wanted = taught[styles, contents]
            rows = torch.cat([contents, torch.where(own.cpu(), contents, ALIKE + styles)])
            wanted[own] = content[own]
            pairs = Trajectory(known.latents[:, rows], known.noise[:, rows])
            learn_at = rng.choice(np.arange(1, STEPS), JUDGED, replace=False).tolist()
            losses = step_losses(unet, schedule, pairs, wanted, draw_strengths(rng, ALIKE).to(device), learn_at)
            run.update(torch.stack(list(losses.values())).sum())
            run.report(losses)
        if run.save_is_due:
            run.save()
        if run.seconds / 60 >= sheets * SHEET_EVERY:
            sheet(data, run.average["unet"], vae, schedule, f"{round(run.seconds / 60):04} minutes", device)
            sheets += 1
    run.save()


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
