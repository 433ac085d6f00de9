"""The diffusion model learns to draw with the places of a style that FFA looks at.

    python -m training.data     --data FOLDER --paintings PAINTINGS
    python -m training.matching --data FOLDER --minutes 90 [--device cuda]

Balanced attention of the network's own hidden states already finds the right places of a style; what it looks at has to
reach the picture. So queries and keys of FFA's layers are set to one number times the identity and stay so: every place
looks at few places that look like it, in a picture's own inversion at itself. All else learns that the clean latents
which a render foresees are FFA's own mixture (`strokes`), made of clean latents instead of values: of the photograph's
and of the style's from the very places that the last layer looked at in the same call. The first values of these layers
are the clean latents, as far as a straight line tells them, and stay so, too. The answer follows from what the network
sees, so its mean over examples is the answer itself; where a loss leaves a choice between places, the mean of all
choices is learnt, which has no strokes (docs/training.md). And what FFA's layers see of a picture has to tell its clean
latents by a straight line, as what they cannot see they cannot bring.

A batch is ALIKE photographs in ALIKE styles. Neither decoder nor judge takes part. What has learnt so wants `t_max`
T_MAX in its model_index.json and `balance` 1. Stop it at any time; the same command goes on from the last checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderDC, DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from magicstyle_core.attention import mixture
from magicstyle_core.hooks import record, self_attention_layers
from magicstyle_core.layers import Layer
from magicstyle_core.method import Schedule, Trajectory
from training.data import CONTENTS, STYLES, Pictures
from training.fusion import PRESET, fine_layers, fusing, inverted, live_render, noise_estimate
from training.judge import latent_style
from training.run import Run, from_command_line
from training.train import SHEET_EVERY, STEPS, draw_strengths, schedule_of, sheet

ALIKE = 3  # photographs of a batch, and styles: each photograph is rendered in each style
CROP = 160  # pixels along a side: 20 latents
RIM = 2  # latents that are not compared: convolutions tell where the edge is, and a render's margin hides it
OWN_STYLE = 0.5  # share of batches in which a photograph is its own style
ALL_LAYERS = 0.25  # share of batches with FFA in all layers, which the page offers, instead of the finest alone
AGREED = (0.0, 1.0, 1.0, 2.0, 3.0)  # `neighbours`, one of them in each batch: the preset's, and a slider's way
RATE = 4e-4
# `strokes`, one of them in each batch, from the photograph's drawing to hardly anything of it.
MIXED = (0.35, 0.5, 0.6, 0.8)
# What queries and keys are multiplied by is the root of this over the mean square of hidden states about their mean.
# Collages by hand have a texture of .85 at a third of it, .82 at it, .81 at three times as much.
SHARPNESS = 12.5
# Weights of the losses: patches and references are a tenth of the first with these. Without the last the first came
# to .585 (the mean of held-out batches, as a share of the change) and stayed there; with it, weighing 5, .561 after 60
# more steps. It weighs 10 since values are what is told: where they tell wrong, the mixture is wrong.
TAUGHT, PATCHES, REFERENCES, TOLD = 4.0, 1.0, 2.0, 10.0
FITTED = 24  # batches for the straight lines: 230 000 places for 65 numbers a channel


@torch.no_grad()
def set_queries_and_keys(unet: UNet2DConditionModel, schedule: Schedule, latents: Tensor) -> None:
    """Makes FFA's layers compare hidden states as they are, as sharply as SHARPNESS says on these clean latents."""
    known, layers = inverted(unet, schedule, latents), fine_layers(unet)
    middle = len(schedule.timesteps) // 2
    with record(unet, layers) as seen:
        noise_estimate(unet, schedule, known.latents[middle], schedule.timesteps[middle])
    for layer in layers:
        hidden_states = seen[layer.name]  # (pictures, tokens, channels)
        spread = (hidden_states - hidden_states.mean(1, keepdim=True)).square().mean().item()
        for projection in (unet.get_submodule(layer.name).to_q, unet.get_submodule(layer.name).to_k):
            projection.weight.copy_((SHARPNESS / spread) ** 0.5 * torch.eye(hidden_states.shape[2]))


@torch.no_grad()
def set_values(unet: UNet2DConditionModel, lines: dict[str, Tensor]) -> None:
    """Makes the first values of FFA's layers the clean latents of the place, as far as straight lines tell them.

    What a layer puts out stays the same. But `strokes` mixes values and moves them to the style's moments channel by
    channel, and in these channels that is the very mixture that is wanted.
    """
    for name, line in lines.items():
        attn, telling = unet.get_submodule(name), line[:-1].T  # (latent channels, hidden channels)
        telling = telling / telling.norm(dim=1, keepdim=True)
        others = torch.linalg.svd(telling).Vh[len(telling) :]  # (the other channels, hidden channels)
        values = torch.cat([telling, others])
        attn.to_out[0].weight.copy_(attn.to_out[0].weight @ attn.to_v.weight @ torch.linalg.inv(values))
        attn.to_v.weight.copy_(values)


@torch.no_grad()
def straight_lines(unet: UNet2DConditionModel, schedule: Schedule, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """From what each of FFA's layers sees at a place to the clean latents there, by least squares over all steps.

    Args:
        batches: clean latents, (pictures, channels, height, width) each.

    Returns:
        (hidden channels + 1, latent channels) by the layer's name; the last row is what is added.
    """
    layers, targets = fine_layers(unet), []
    hidden: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}
    for latents in batches:
        known = inverted(unet, schedule, latents)
        for i in range(1, STEPS):
            with record(unet, layers) as seen:
                noise_estimate(unet, schedule, known.latents[i], schedule.timesteps[i])
            for name, hidden_states in seen.items():
                hidden[name].append(hidden_states.flatten(0, 1))  # (pictures * tokens, hidden channels)
            targets.append(by_place(latents).flatten(0, 1))  # (pictures * tokens, latent channels)
    return {
        name: torch.linalg.lstsq(with_one(torch.cat(parts)), torch.cat(targets)).solution
        for name, parts in hidden.items()
    }


def by_place(latents: Tensor) -> Tensor:
    return latents.flatten(2).mT  # (batch, places, channels)


def with_one(hidden_states: Tensor) -> Tensor:
    return torch.cat([hidden_states, torch.ones_like(hidden_states[..., :1])], -1)


def change_wanted(content: Tensor, style: Tensor, paid: Tensor, strokes: float) -> Tensor:
    """What is to be added to clean latents of photographs (renders, channels, height, width) at strength 1; nothing
    where a photograph is its own style.

    Args:
        paid: how much each place of a photograph looks at each of its style, (renders, 1, places, places).
    """
    places_c, places_s = (by_place(latents)[:, None] for latents in (content, style))  # (renders, 1, places, channels)
    everywhere = paid.new_ones(1, 1, paid.shape[2], 1)
    mixed = mixture(paid @ places_s, places_c, places_s, strokes * everywhere, everywhere)
    other = (content != style).flatten(1).any(1).view(-1, 1, 1, 1)
    return other * (mixed[:, 0].mT.reshape(content.shape) - content)


def step_losses(
    unet: UNet2DConditionModel,
    schedule: Schedule,
    known: Trajectory,
    lines: dict[str, Tensor],
    strength: float,
    neighbours: float,
    strokes: float,
    layers: list[Layer],
) -> Iterator[dict[str, Tensor]]:
    """The losses of each step of a batch's renders by name, weighted; their sum is what to minimise.

    A render adds what the content's own way down has lost, so the latents that it is on its way to at a step are
    z_c + x0(target) - x0(content), and those are compared. The weights may change between the steps.

    Args:
        known: the inversions of ALIKE photographs, then of ALIKE styles; one that is both has to stay as it is.
        lines: what `straight_lines` gave.
    """
    places = torch.arange(ALIKE, device=known.latents.device)
    contents, styles = places.repeat(ALIKE), ALIKE + places.repeat_interleave(ALIKE)
    clean_latents = known.latents[0]  # (2 * ALIKE, channels, height, width)
    content, style = clean_latents[contents], clean_latents[styles]  # (ALIKE * ALIKE, channels, height, width)
    paid = list[Tensor]()
    strengths = content.new_full((1, 1, *content.shape[2:]), strength)
    how = fusing(strengths, PRESET.replace(neighbours=neighbours, strokes=strokes), paid.append)
    with record(unet, fine_layers(unet)) as seen:
        for step, references in live_render(unet, schedule, known, contents, styles, how, layers, range(1, STEPS)):
            if step.index == 0:
                break
            change = inner(strength * change_wanted(content, style, paid.pop(), strokes))
            reached = inner(step.denoised - references[contents])
            told = [with_one(seen[name]) @ line - by_place(clean_latents) for name, line in lines.items()]
            yield {
                "taught": TAUGHT * (reached - change).abs().mean() / change.abs().mean(),
                "patches": PATCHES * latent_style(inner(content) + reached, inner(content) + change).mean(),
                "references": REFERENCES * (references - clean_latents).square().mean(),
                "told": TOLD * torch.stack(told).square().mean(),
            }


def inner(latents: Tensor) -> Tensor:
    return latents[..., RIM:-RIM, RIM:-RIM]


def learn(data: Path, start: Path, *, minutes: float, device: str) -> None:
    """Trains from the model in folder `start`; checkpoints, log and sheets go to `data`."""
    pictures = Pictures(data)
    vae = AutoencoderDC.from_pretrained(start / "vae").to(device, memory_format=torch.channels_last).eval()
    unet = UNet2DConditionModel.from_pretrained(start / "unet").to(device, memory_format=torch.channels_last)
    schedule = schedule_of(DDIMScheduler.from_pretrained(start / "scheduler"), device)

    @torch.no_grad()
    def draw() -> tuple[Tensor, Tensor]:
        """Clean latents of photographs and of style pictures, (ALIKE, channels, height, width)."""
        pixels = torch.cat([pictures.draw(rng, shares, ALIKE, CROP) for shares in (CONTENTS, STYLES)]).to(device)
        content, style = (vae.encode(pixels).latent * vae.config.scaling_factor).split(ALIKE)
        return content, style

    rng = np.random.default_rng()
    if not (data / "matching.pt").exists():
        set_queries_and_keys(unet, schedule, torch.cat(draw()))
    for layer in fine_layers(unet):
        attn = unet.get_submodule(layer.name)
        for projection in (attn.to_q, attn.to_k, attn.to_v):
            projection.requires_grad_(False)
    run = Run({"unet": unet}, {"unet": RATE}, data / "matching.pt", minutes)
    inverting = run.average["unet"]  # it moves slowly; by the weights that learn, even a single batch stayed unlearnt
    rng = run.generator()
    lines = straight_lines(inverting, schedule, (torch.cat(draw()) for _ in range(FITTED)))
    if run.step == 0:
        for model in (unet, inverting):
            set_values(model, lines)
    sheets = int(run.seconds / 60 / SHEET_EVERY) + 1
    while run.fraction < 1:
        content, style = draw()
        if rng.random() < OWN_STYLE:
            style[0] = content[0]
        known = inverted(inverting, schedule, torch.cat([content, style]))
        layers = self_attention_layers(unet) if rng.random() < ALL_LAYERS else fine_layers(unet)
        strength, neighbours, strokes = draw_strengths(rng, 1).item(), rng.choice(AGREED), rng.choice(MIXED)
        for losses in step_losses(unet, schedule, known, lines, strength, neighbours, strokes, layers):
            run.update(torch.stack(list(losses.values())).sum())
            run.report(losses)
        if run.save_is_due:
            run.save()
        if run.seconds / 60 >= sheets * SHEET_EVERY:
            sheet(data, inverting, vae, schedule, f"{round(run.seconds / 60):04} minutes", device)
            sheets += 1
    run.save()


if __name__ == "__main__":
    from_command_line("matching", learn)
