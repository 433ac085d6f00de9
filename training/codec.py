"""The decoder of the embedded model's autoencoder learns on; the encoder, and so the latents, stay.

    python -m training.codec --data FOLDER --minutes 20 [--start assets/mini] [--device cuda]

Round trips have to come back as a network sees them. Renders by the start's UNet, whose latents no encoder gives, have
no picture to come back to: they stay as the start's decoder draws them, but for its lattice, the squares of 8 pixels in
flat places and around outlines. Goes on from its checkpoint when started again; FOLDER/vae is as new as that.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC, DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from magicstyle_core.hooks import Fusing, self_attention_layers
from training.data import CONTENTS, STYLES, Pictures
from training.fusion import fine_layers, inverted, live_render
from training.judge import GREY_LEVEL, Judge, feature_loss, lattice, weights_file
from training.run import Run, from_command_line
from training.train import BALANCE, PAIRINGS, TEMPERATURE, draw_strengths, schedule_of

PHOTOGRAPHS, SIZE = 3, 136  # and as many style pictures; pixels along a side: three tiles of `lattice` and a seam
ALL_LAYERS = 0.25  # share of renders with FFA in all layers, as in training.matching
RATE = 1.5e-4  # half of what the decoder first learnt with; no other was tried
AROUND = 16  # pixels along the square over which strokes keep their energy
# Weights of the losses, by hand: 40 steps take the lattice of renders from .95 to .72. The style's texture in renders
# was a loss, too; it found every hole between these and drew grain into it (docs/training.md).
PIXELS, FEATURES, LATTICE, HELD, ENERGY = 6.0, 1.0, 3.0, 2.0, 0.2
COLOUR = 30.0  # without it colours flickered from pixel to pixel, four times as much as with the decoder before
CHECKS = 60.0  # without it a chessboard of single pixels came, which `lattice` does not see
CHROMA = ((-0.1687, -0.3313, 0.5), (0.5, -0.4187, -0.0813))  # Cb and Cr of RGB, ITU-R BT.601


def energy(pixels: Tensor) -> Tensor:
    """How large the steps from pixel to pixel are around a place: logarithms, (batch, places)."""
    parts = []
    for across in (pixels, pixels.mT):
        steps = across.diff(dim=3).square().mean(1, keepdim=True)  # (batch, 1, height, width - 1)
        parts.append((F.avg_pool2d(steps, AROUND) + GREY_LEVEL**2).log().flatten(1))
    return torch.cat(parts, 1)


def colour_difference(pixels: Tensor, wanted: Tensor) -> Tensor:
    """Mean difference of the chroma of pictures and of its steps from pixel to pixel; no grey judge sees it flicker."""
    chroma = torch.einsum("bchw,kc->bkhw", pixels - wanted, pixels.new_tensor(CHROMA))  # (batch, 2, height, width)
    return chroma.abs().mean() + chroma.diff(dim=2).abs().mean() + chroma.diff(dim=3).abs().mean()


def checks(difference: Tensor) -> Tensor:
    """Mean size of the mixed second difference, which is largest where every other pixel is brighter."""
    return difference.diff(dim=2).diff(dim=3).abs().mean()


def step_losses(
    vae: AutoencoderDC, before: AutoencoderDC, judge: Judge, pixels: Tensor, latents: Tensor, rendered: Tensor
) -> dict[str, Tensor]:
    """The losses of one batch by name, weighted; their sum is what to minimise.

    Args:
        before: how renders are to look, but for its lattice.
        pixels: pictures (pictures, 3, height, width) in [-1, 1]; `latents` are theirs.
        rendered: latents of renders (renders, channels, rows, columns), at most as many as there are pictures.
    """
    scale, count = vae.config.scaling_factor, len(rendered)
    renders, trips = vae.decode(torch.cat([rendered, latents]) / scale).sample.tensor_split([count])
    with torch.no_grad():
        wanted = before.decode(rendered / scale).sample
        some = torch.randperm(len(pixels), device=pixels.device)[:count]  # the network is the most of the work
        seen = judge(pixels[some])
    return {
        "pixels": PIXELS * (trips - pixels).abs().mean(),
        "features": FEATURES * feature_loss(judge(trips[some]), seen).mean(),
        "colour": COLOUR * (colour_difference(trips, pixels) + colour_difference(renders, wanted)),
        "checks": CHECKS * (checks(trips - pixels) + checks(renders - wanted)),
        "lattice": LATTICE * F.relu(lattice(trips) - lattice(pixels)).mean(),
        "held": HELD * (renders - wanted).abs().mean(),
        "energy": ENERGY * (energy(renders) - energy(wanted)).abs().mean(),
        "lattice of renders": LATTICE * lattice(renders).mean(),
    }


def train_codec(data: Path, start: Path, *, minutes: float, device: str) -> None:
    """Trains from the model in folder `start`; checkpoints and log go to `data`."""
    pictures, judge = Pictures(data), Judge(weights_file(data), device)
    vae = AutoencoderDC.from_pretrained(start / "vae").to(device, memory_format=torch.channels_last)
    before = copy.deepcopy(vae).requires_grad_(False)
    vae.encoder.requires_grad_(False)
    unet = UNet2DConditionModel.from_pretrained(start / "unet").to(device, memory_format=torch.channels_last)
    unet.requires_grad_(False)
    schedule = schedule_of(DDIMScheduler.from_pretrained(start / "scheduler"), device)
    run = Run({"vae": vae}, {"vae.decoder": RATE}, data / "codec.pt", minutes)
    rng = run.generator()
    places = torch.arange(PHOTOGRAPHS, device=device)
    while run.fraction < 1:
        drawn = [pictures.draw(rng, shares, PHOTOGRAPHS, SIZE) for shares in (CONTENTS, STYLES)]
        pixels = torch.cat(drawn).to(device)  # (2 * PHOTOGRAPHS, 3, SIZE, SIZE)
        with torch.no_grad():
            latents = vae.encode(pixels).latent * vae.config.scaling_factor
        known = inverted(unet, schedule, latents)
        for turn in range(PAIRINGS):
            strength = latents.new_full((1, 1, *latents.shape[2:]), draw_strengths(rng, 1).item())
            how = Fusing(strength, temperature=TEMPERATURE, balance=BALANCE)
            layers = self_attention_layers(unet) if rng.random() < ALL_LAYERS else fine_layers(unet)
            styles = PHOTOGRAPHS + places.roll(turn)
            for step, _ in live_render(unet, schedule, known, places, styles, how, layers):
                rendered = step.latents
            losses = step_losses(vae, before, judge, pixels, latents, rendered)
            run.update(torch.stack(list(losses.values())).sum())
            run.report(losses)
        if run.save_is_due:
            run.save()
    run.save()


if __name__ == "__main__":
    from_command_line("codec", train_codec)
