"""The diffusion model learns to carry a style by FFA: whole renders, judged by what a network sees in them.

    python -m training.data  --data FOLDER --paintings PAINTINGS
    python -m training.train --data FOLDER --minutes 600 [--device cuda]

Each step inverts photographs and style pictures, renders every photograph in its style (training.fusion), and at two of
the render's steps decodes the picture foreseen there. Those steps are noisy ones: the output of the model moves the
picture foreseen by s(t), next to nothing at the last step. FFA must bring the colours too: there is no palette.
Stop it at any time; the same command goes on from the last checkpoint. Every few minutes it writes a contact sheet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage.data
import torch
from diffusers import AutoencoderDC, DDIMScheduler, UNet2DConditionModel
from PIL import Image, ImageOps
from torch import Tensor

from magicstyle_core.method import Schedule, Trajectory, ddim_timesteps
from training import metrics
from training.data import CONTENTS, EXAMPLES, STYLES, Pictures
from training.fusion import fine_layers, fusing, inverted, live_render
from training.judge import (
    Features,
    Judge,
    adaattn_targets,
    content_loss,
    feature_loss,
    latent_style,
    lattice,
    standardised_grey,
    style_loss,
    weights_file,
)
from training.run import Run, from_command_line

# The grid that the model is used with: few steps, and no more noise than leaves the photograph in the latents. Up to
# 1000 and 500 less was learnt in as many steps, and faces got lost (docs/training.md).
STEPS, T_MAX = 5, 250
EXAMPLES_A_STEP, CROP = 4, 128
RIM = 16  # pixels that nobody judges: else the model learns tricks at the rim, which a render's margin hides
PAIRINGS = 2  # steps with the same inversions, a quarter of a step's cost; they change little in a step
RATE = 4e-4  # with 6e-4 the references' denoising decayed, 8e-4 diverged
DECODER_RATE, DECODER_FROM = 1e-4, 0.2  # the decoder learns with it from this share of the time on
# Weights of the losses.
STYLE, LATENT_STYLE, CONTENT = 4.0, 1.0, 1.0
REFERENCES, IDENTITY, ROUND_TRIP, BRUSH, LATTICE = 2.0, 4.0, 6.0, 2.0, 2.0
OWN_STYLE = 0.08  # share of photographs that are their own style and must stay as they are
OTHER_STRENGTHS = 0.2  # share of strengths other than 1, up to 1.5
JUDGED = 2  # steps of each render
SHEET_EVERY = 20.0  # minutes
SHEET_SIZE = 256  # pixels along a side of its pictures
SHOWN_PHOTOGRAPHS = ("astronaut", "chelsea", "coffee")
SHOWN_STYLES = ("waves", "night")


def schedule_of(scheduler: DDIMScheduler, device: str) -> Schedule:
    timesteps = ddim_timesteps(STEPS, T_MAX)
    alphas = scheduler.alphas_cumprod[list(timesteps)].to(device)
    return Schedule(timesteps, alphas, scheduler.final_alpha_cumprod.to(device))


def draw_strengths(rng: np.random.Generator, count: int) -> Tensor:
    """Mostly 1: (count, 1, 1, 1)."""
    other = rng.random(count) < OTHER_STRENGTHS
    return torch.from_numpy(np.where(other, rng.uniform(0.1, 1.5, count), 1.0)).float().view(-1, 1, 1, 1)


@dataclass(frozen=True)
class Seen:
    """What the judge sees in photographs and in as many style pictures."""

    content: Features
    style: Features

    def with_styles(self, order: Tensor) -> Seen:
        return Seen(self.content, {name: features[order] for name, features in self.style.items()})


@dataclass(frozen=True)
class Batch:
    """Photographs and style pictures with what is known of them before any render."""

    content: Tensor  # (examples, 3, size, size) in [-1, 1], as is style
    style: Tensor
    colour: Seen
    grey: Seen  # of their standardised grey
    known: Trajectory  # contents, then styles

    def with_styles_moved(self) -> Batch:
        """Every photograph with the next one's style."""
        contents = torch.arange(len(self.content))
        styles = contents.roll(1)
        rows = torch.cat([contents, len(contents) + styles])
        return Batch(
            self.content,
            self.style[styles],
            self.colour.with_styles(styles),
            self.grey.with_styles(styles),
            Trajectory(self.known.latents[:, rows], self.known.noise[:, rows]),
        )


def within_rim(pixels: Tensor) -> Tensor:
    return pixels[..., RIM:-RIM, RIM:-RIM]


@torch.no_grad()
def batch_of(
    unet: UNet2DConditionModel, vae: AutoencoderDC, judge: Judge, schedule: Schedule, content: Tensor, style: Tensor
) -> Batch:
    """Encodes and inverts pictures (examples, 3, size, size) in [-1, 1]."""
    latents = vae.encode(torch.cat([content, style])).latent * vae.config.scaling_factor
    inner_c, inner_s = within_rim(content), within_rim(style)
    grey_c, grey_s = standardised_grey(inner_c), standardised_grey(inner_s)
    colour, grey = Seen(judge(inner_c), judge(inner_s)), Seen(judge(grey_c), judge(grey_s))
    return Batch(content, style, colour, grey, inverted(unet, schedule, latents))


def step_losses(
    unet: UNet2DConditionModel,
    vae: AutoencoderDC,
    judge: Judge,
    schedule: Schedule,
    batch: Batch,
    strengths: Tensor,
    learn_at: Sequence[int],
) -> dict[str, Tensor]:
    """The losses of one batch by name, weighted; their sum is what to minimise.

    Args:
        batch: an example whose two pictures are equal is its own style.
        strengths: (examples, 1, 1, 1).
        learn_at: the stored steps that are judged, the first of them in standardised grey.
    """
    clean_latents = batch.known.latents[0]  # (2 * examples, channels, height, width)
    examples = len(batch.content)
    wanted = adaattn_targets(batch.colour.content, batch.colour.style)
    own = (batch.content == batch.style).flatten(1).all(1).float()  # (examples,)
    share = strengths.flatten().clamp(max=1) * (1 - own)
    strengths = strengths.expand(-1, 1, *clean_latents.shape[2:])
    how = fusing(strengths)
    names = ("style", "latent style", "content", "identity", "lattice", "references")
    losses = dict.fromkeys(names, clean_latents.new_zeros(()))
    places, layers = torch.arange(examples, device=clean_latents.device), fine_layers(unet)
    for step, references in live_render(unet, schedule, batch.known, places, examples + places, how, layers, learn_at):
        if step.index not in learn_at:
            continue
        decoded = within_rim(vae.decode(step.denoised / vae.config.scaling_factor).sample)
        in_grey = step.index == learn_at[0]
        seen, known = (judge(standardised_grey(decoded)), batch.grey) if in_grey else (judge(decoded), batch.colour)
        style = style_loss(seen, known.style, {} if in_grey else wanted)  # (examples,)
        patches = latent_style(step.denoised, clean_latents[examples:])
        away = (decoded - within_rim(batch.content)).abs().mean((1, 2, 3))
        for name, loss in {
            "style": STYLE * (share * style).mean(),
            "latent style": LATENT_STYLE * (share * patches).mean(),
            "content": CONTENT * ((1 - own) * content_loss(seen, known.content)).mean(),
            "identity": IDENTITY * (own * away).mean(),
            "lattice": LATTICE * lattice(decoded).mean(),
            "references": REFERENCES * (references - clean_latents).square().mean(),
        }.items():
            losses[name] = losses[name] + loss / len(learn_at)
        if step.index == min(learn_at):
            break  # the rest of the way down would teach nothing
    return losses


def round_trip_loss(vae: AutoencoderDC, judge: Judge, batch: Batch) -> Tensor:
    """What keeps a decoder that learns with the UNet from drawing strokes into every picture, weighted."""
    pictures = torch.cat([batch.content, batch.style])
    decoded = vae.decode(batch.known.latents[0] / vae.config.scaling_factor).sample
    seen = {name: torch.cat([batch.colour.content[name], batch.colour.style[name]]) for name in batch.colour.content}
    strokes = feature_loss(judge(within_rim(decoded)), seen).mean()
    return ROUND_TRIP * (decoded - pictures).abs().mean() + BRUSH * strokes


def train(data: Path, start: Path, *, minutes: float, device: str) -> None:
    """Trains from the model in folder `start`; checkpoints, log and sheets go to `data`."""
    pictures, judge = Pictures(data), Judge(weights_file(data), device)
    vae = AutoencoderDC.from_pretrained(start / "vae").to(device, memory_format=torch.channels_last)
    vae.eval().requires_grad_(False)
    unet = UNet2DConditionModel.from_pretrained(start / "unet").to(device, memory_format=torch.channels_last)
    schedule = schedule_of(DDIMScheduler.from_pretrained(start / "scheduler"), device)
    run = Run({"unet": unet, "vae": vae}, {"unet": RATE, "vae.decoder": DECODER_RATE}, data / "train.pt", minutes)
    rng = run.generator()
    sheets = int(run.seconds / 60 / SHEET_EVERY) + 1
    while run.fraction < 1:
        content = pictures.draw(rng, CONTENTS, EXAMPLES_A_STEP, CROP).to(device)
        style = pictures.draw(rng, STYLES, EXAMPLES_A_STEP, CROP).to(device)
        own = torch.from_numpy(rng.random(EXAMPLES_A_STEP) < OWN_STYLE).to(device)
        style[own] = content[own]
        batch = batch_of(unet, vae, judge, schedule, content, style)
        for _ in range(PAIRINGS):
            strengths = draw_strengths(rng, EXAMPLES_A_STEP).to(device)
            learn_at = rng.choice(np.arange(1, STEPS), JUDGED, replace=False).tolist()
            vae.decoder.requires_grad_(run.fraction >= DECODER_FROM)
            losses = step_losses(unet, vae, judge, schedule, batch, strengths, learn_at)
            if run.fraction >= DECODER_FROM:
                losses["round trip"] = round_trip_loss(vae, judge, batch)
            run.update(torch.stack(list(losses.values())).sum())
            run.report(losses)
            batch = batch.with_styles_moved()
        if run.save_is_due:
            run.save()
        if run.seconds / 60 >= sheets * SHEET_EVERY:
            name = f"{round(run.seconds / 60):04} minutes"
            sheet(data, run.average["unet"], run.average["vae"], schedule, name, device)
            sheets += 1
    run.save()


@torch.no_grad()
def sheet(
    data: Path, unet: UNet2DConditionModel, vae: AutoencoderDC, schedule: Schedule, name: str, device: str
) -> None:
    """The same photographs in the same styles, neither of which were trained on but for the last two styles."""

    def squares(images: Iterable[Image.Image]) -> np.ndarray:
        return np.stack([np.asarray(ImageOps.fit(image.convert("RGB"), (SHEET_SIZE, SHEET_SIZE))) for image in images])

    photographs = squares([Image.fromarray(getattr(skimage.data, name)()) for name in SHOWN_PHOTOGRAPHS])
    own = squares([Image.open(EXAMPLES / f"style_{name}.webp") for name in SHOWN_STYLES])
    held_out = squares([Image.fromarray(pixels) for pixels in np.load(data / "held_out.npy")])
    styles = np.concatenate([held_out, own])
    pixels_c, pixels_s = (
        torch.from_numpy(pictures).permute(0, 3, 1, 2).to(device).float() / 127.5 - 1
        for pictures in (photographs, styles)
    )
    latents_c, latents_s = (vae.encode(pixels).latent * vae.config.scaling_factor for pixels in (pixels_c, pixels_s))

    def decoded(latents: Tensor) -> np.ndarray:
        pixels = vae.decode(latents / vae.config.scaling_factor).sample.clamp(-1, 1)
        return ((pixels + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()

    trips = decoded(latents_c)
    columns, figures = [np.concatenate([np.full_like(trips[:1], 255), trips])], []
    contents = torch.arange(len(trips), device=device)
    strength = torch.ones(1, 1, *latents_c.shape[2:], device=device)
    how = fusing(strength)
    layers = fine_layers(unet)
    for style, latents in zip(styles, latents_s, strict=True):
        known = inverted(unet, schedule, torch.cat([latents_c, latents[None]]))
        styles_at = torch.full_like(contents, len(contents))
        for step, _ in live_render(unet, schedule, known, contents, styles_at, how, layers):
            finished = step.latents
        results = decoded(finished)
        columns.append(np.concatenate([style[None], results]))
        figures.append(
            [
                (
                    metrics.style_distance(result, style) / metrics.style_distance(photograph, style),
                    metrics.texture_distance(result, style) / metrics.texture_distance(photograph, style),
                    metrics.content_distance(result, trip),
                )
                for result, photograph, trip in zip(results, photographs, trips, strict=True)
            ]
        )
    Image.fromarray(np.hstack([np.vstack(list(column)) for column in columns])).save(data / f"sheet {name}.png")
    means = {
        group: dict(zip(("style", "texture", "content"), np.mean(values, (0, 1)).round(3).tolist(), strict=True))
        for group, values in {"held out": figures[: len(held_out)], "own": figures[len(held_out) :]}.items()
    }
    with (data / "curve.jsonl").open("a") as file:
        file.write(json.dumps({"at": name, **means}) + "\n")
    print(name, means, flush=True)


if __name__ == "__main__":
    from_command_line("train", train)
