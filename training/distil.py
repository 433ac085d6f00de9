"""The diffusion model learns by FFA what a feed-forward stylizer does, compared as latents.

    python -m training.data    --data FOLDER --paintings PAINTINGS
    python -m training.teacher --data FOLDER --groups 200
    python -m training.distil  --data FOLDER --minutes 120 [--device cuda]

A group that the teacher has drawn (training.teacher) is inverted once. At three of the render's steps every photograph
stands part of the way towards what is wanted in each style, and the clean latents that the model foresees there are
compared with the teacher's. A style gets there by FFA alone: there is no palette, and nobody tells the model the
teacher's code. Neither decoder nor judge takes part. Stop it at any time; the same command goes on from the last
checkpoint.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderDC, DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from magicstyle_core.hooks import Fusing
from magicstyle_core.method import Schedule, Trajectory, clean
from training.fusion import inverted, live_fusion, noise_estimate
from training.judge import latent_style
from training.run import Run
from training.teacher import ALIKE
from training.train import SHEET_EVERY, STEPS, TEMPERATURE, draw_strengths, schedule_of, sheet

CROP = 20  # latents along a side, 160 pixels: what a step costs grows with its square
COMPARED = 3  # of a group's steps: with as many, inverting is a third of the work
RATE = 4e-4  # at 1e-3 the references' denoising decayed
# Weights of the losses: with these the second is an eighth of the first, the third a fifth.
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
    step: int,
    reached: float,
) -> dict[str, Tensor]:
    """The losses of one step of a group's renders by name, weighted; their sum is what to minimise.

    A render adds what the content's own way down has lost, so the latents that it is on its way to at a step are
    z_c + x0(target) - x0(content), and those are compared.

    Args:
        known: the inversions of ALIKE contents, then of ALIKE styles.
        wanted: latents of each content in each style, (ALIKE styles, ALIKE contents, channels, height, width).
        strengths: (ALIKE * ALIKE, 1, 1, 1).
        step: the stored step.
        reached: how much of what is wanted the render has at this step, from 0 to 1; it begins with nothing.
    """
    references = known.latents[0]  # (2 * ALIKE, channels, height, width)
    content = references[:ALIKE].repeat(ALIKE, 1, 1, 1)  # (ALIKE * ALIKE, channels, height, width)
    change = strengths.clamp(max=1) * (wanted.flatten(0, 1) - content)
    alpha = schedule.alphas[step]
    latents = known.latents[step, :ALIKE].repeat(ALIKE, 1, 1, 1) + reached * alpha.sqrt() * change
    rows = torch.cat([latents, known.latents[step]])
    how = Fusing(strengths.expand(-1, 1, *wanted.shape[3:]), temperature=TEMPERATURE)
    places = torch.arange(ALIKE, device=rows.device)
    with live_fusion(unet, how, places.repeat(ALIKE), ALIKE + places.repeat_interleave(ALIKE)):
        denoised = clean(rows, noise_estimate(unet, schedule, rows, schedule.timesteps[step]), alpha)
    target, again = denoised.tensor_split([len(latents)])
    by_itself = clean(known.latents[step, :ALIKE], known.noise[step, :ALIKE], alpha).repeat(ALIKE, 1, 1, 1)
    foreseen, aim = target - by_itself + content, content + change
    return {
        "taught": TAUGHT * (foreseen - aim).abs().mean() / change.abs().mean(),
        "patches": PATCHES * latent_style(foreseen, aim).mean(),
        "references": REFERENCES * (again - references).square().mean(),
    }


def distil(data: Path, start: Path, *, minutes: float, device: str) -> None:
    """Trains from the model in folder `start`; checkpoints, log and sheets go to `data`."""
    vae = AutoencoderDC.from_pretrained(start / "vae").to(device, memory_format=torch.channels_last).eval()
    unet = UNet2DConditionModel.from_pretrained(start / "unet").to(device, memory_format=torch.channels_last)
    schedule = schedule_of(DDIMScheduler.from_pretrained(start / "scheduler"), device)
    run = Run({"unet": unet}, {"unet": RATE}, data / "distil.pt", minutes)
    # By weights that stay: inversions that moved with every update left even a single group unlearnt.
    inverting = UNet2DConditionModel.from_pretrained(start / "unet").to(device, memory_format=torch.channels_last)
    rng = run.generator()
    sheets = int(run.seconds / 60 / SHEET_EVERY) + 1
    while run.fraction < 1:
        content, style, wanted = (part.to(device) for part in draw_group(data, rng))
        known = inverted(inverting, schedule, torch.cat([content, style]))
        for step in rng.choice(np.arange(1, STEPS), COMPARED, replace=False).tolist():
            strengths = draw_strengths(rng, ALIKE * ALIKE).to(device)
            reached = 0.0 if step == STEPS - 1 else float(rng.random())
            losses = step_losses(unet, schedule, known, wanted, strengths, step, reached)
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
