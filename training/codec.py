"""The decoder of the embedded model's autoencoder learns on; the encoder, and so the latents, stay.

    python -m training.codec --data FOLDER --minutes 60 [--start assets/mini] [--device cuda]

Its finest stage, at half a picture's size, gets as many channels and blocks as FINEST says, unless it has them. Round
trips have to come back as a network sees them. Renders by the start's UNet, whose latents no encoder gives, have no
picture to come back to: from afar they stay as the start's decoder draws them. Close up a critic must tell neither from
pictures; since it learns slowly, what a decoder likes to print everywhere has losses of its own. Goes on from its
checkpoint when started again, with a new critic; FOLDER/vae is as new as that.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from magicstyle_core.hooks import Fusing, self_attention_layers
from training.data import CONTENTS, STYLES, Pictures
from training.fusion import fine_layers, inverted, live_render
from training.judge import BLOCK, GREY_LEVEL, LAYERS, Features, Judge, detail, feature_loss, lattice, weights_file
from training.run import Run, from_command_line
from training.train import BALANCE, TEMPERATURE, draw_strengths, schedule_of
from training.widening import widened

FINEST = (48, 3)  # channels and blocks at half size; with (24, 1) relief and weaves stayed; costs 10 to 50 ms a picture
PHOTOGRAPHS, SIZE = 3, 136  # and as many style pictures; pixels along a side: three tiles of `lattice` and a seam
PAIRINGS = 3  # steps with the same inversions
ALL_LAYERS = 0.25  # share of renders with FFA in all layers, as in training.matching
RATE, CRITIC_RATE = 1.5e-4, 4e-4  # at 3e-4 the decoder stood still after six minutes; the critic's first guess
SQUARES = 3  # along a side; of grain a third is left in their mean
PLACE = 16  # pixels along the square that is to have as much detail as it should: two latents
AFAR = 4  # pixels along the square whose mean a render keeps; what is finer is the decoder's to draw
SEEN, WIDTH = ("detail", *LAYERS[:3]), 32  # what the critic sees, and its channels: a tenth of the judge's work
# Weights of the losses. In the gradient of the last layer pixels and features are of one size. Chroma and single pixels
# had been held so that they outweighed both a hundred times, which leaves blur. Each of the following took away what
# had come without it: colours that flicker, dots along outlines, a chessboard in skies, a weave in skies.
PIXELS, FEATURES = 6.0, 8.0
COLOUR, ALTERNATION, PRINTED, ENERGY = 2.0, 60.0, 20.0, 0.5
LATTICE, HELD, CONVINCING = 1.0, 4.0, 0.5
CHROMA = ((-0.1687, -0.3313, 0.5), (0.5, -0.4187, -0.0813))  # Cb and Cr of RGB, ITU-R BT.601


class Critic(nn.Module):
    """Tells pictures from what a decoder draws, place by place, by their detail and by what the judge sees."""

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        widths = {"detail": 3} | {
            name: len(convolutions[-1][1]) for name, convolutions in zip(LAYERS, judge.blocks, strict=True)
        }
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Conv2d(widths[name], WIDTH, 3 if name == "detail" else 1),
                    nn.LeakyReLU(0.2),
                    nn.Conv2d(WIDTH, WIDTH, 3),
                    nn.LeakyReLU(0.2),
                    nn.Conv2d(WIDTH, 1, 1),
                )
                for name in SEEN
            }
        )

    def forward(self, seen: Features) -> list[Tensor]:
        """Scores of places, (pictures, 1, rows, columns) for each of SEEN; above 0: a picture."""
        return [head(seen[name]) for name, head in self.heads.items()]


def energy(pixels: Tensor) -> Tensor:
    """How large the steps from pixel to pixel are around a place: logarithms, (batch, places)."""
    parts = []
    for across in (pixels, pixels.mT):
        steps = across.diff(dim=3).square().mean(1, keepdim=True)  # (batch, 1, height, width - 1)
        parts.append((F.avg_pool2d(steps, PLACE) + GREY_LEVEL**2).log().flatten(1))
    return torch.cat(parts, 1)


def colour_difference(pixels: Tensor, wanted: Tensor) -> Tensor:
    """Mean difference of the chroma of pictures and of its steps from pixel to pixel; no grey judge sees it flicker."""
    chroma = torch.einsum("bchw,kc->bkhw", pixels - wanted, pixels.new_tensor(CHROMA))  # (batch, 2, height, width)
    return chroma.abs().mean() + chroma.diff(dim=2).abs().mean() + chroma.diff(dim=3).abs().mean()


def alternation(pixels: Tensor) -> Tensor:
    """Mean size of chessboards, and of stripes, one pixel wide within squares of BLOCK pixels."""
    across, down = (
        1 - 2 * (torch.arange(size, device=pixels.device) % 2) for size in (pixels.shape[3], pixels.shape[2])
    )
    alternating = torch.cat([pixels * across, pixels * down[:, None], pixels * across * down[:, None]])
    return F.avg_pool2d(alternating, BLOCK).abs().mean()


def printed(pixels: Tensor) -> Tensor:
    """Mean size of what is alike at the same place of neighbouring squares of BLOCK pixels: a decoder's own mark."""
    rows = pixels.unflatten(3, (-1, BLOCK)).unflatten(2, (-1, BLOCK))  # (batch, 3, rows, BLOCK, columns, BLOCK)
    return rows.unfold(2, SQUARES, 1).unfold(4, SQUARES, 1).mean((-1, -2)).abs().mean()


def looked_at(judge: Judge, pixels: Tensor) -> Features:
    """What the critic sees, and what the judge does."""
    return {"detail": detail(pixels), **judge(pixels)}


def relative(seen: Features, of: Features) -> Features:
    """Each layer over the other's root mean square."""
    return {name: seen[name] / of[name].square().mean().sqrt() for name in SEEN}


def step_losses(
    vae: AutoencoderDC,
    before: AutoencoderDC,
    judge: Judge,
    critic: Critic,
    pixels: Tensor,
    latents: Tensor,
    rendered: Tensor,
) -> dict[str, Tensor]:
    """The losses of one batch by name, weighted; their sum is what decoder and critic minimise.

    Args:
        before: how renders are to look from afar, and what detail they have at most.
        pixels: pictures (pictures, 3, height, width) in [-1, 1]; `latents` are theirs.
        rendered: latents of renders (renders, channels, rows, columns), at most as many as there are pictures.
    """
    scale, count = vae.config.scaling_factor, len(rendered)
    renders, trips = vae.decode(torch.cat([rendered, latents]) / scale).sample.tensor_split([count])
    some = torch.randperm(len(pixels), device=pixels.device)[:count]  # the network is the most of the work
    with torch.no_grad():
        wanted = before.decode(rendered / scale).sample
        seen = looked_at(judge, pixels[some])
    drawn = looked_at(judge, torch.cat([trips[some], renders]))
    real, false = relative(seen, seen), relative(drawn, seen)
    critic.requires_grad_(False)
    convincing = torch.stack([-score.mean() for score in critic(false)]).mean()
    critic.requires_grad_(True)
    false = {name: features.detach() for name, features in false.items()}
    errors = [F.relu(1 - s).mean() + F.relu(1 + t).mean() for s, t in zip(critic(real), critic(false), strict=True)]
    excess = F.relu(energy(renders) - energy(wanted))
    of_trips = {name: features[:count] for name, features in drawn.items()}
    return {
        "pixels": PIXELS * (trips - pixels).abs().mean(),
        "features": FEATURES * feature_loss(of_trips, seen).mean(),
        "colour": COLOUR * (colour_difference(trips, pixels) + colour_difference(renders, wanted)),
        "alternation": ALTERNATION * (alternation(trips - pixels) + alternation(renders - wanted)),
        "printed": PRINTED * (printed(trips - pixels) + printed(detail(renders))),
        "energy": ENERGY * ((energy(trips) - energy(pixels)).abs().mean() + excess.mean()),
        "lattice": LATTICE * F.relu(lattice(trips) - lattice(pixels)).mean(),
        "held": HELD * F.avg_pool2d(renders - wanted, AFAR).abs().mean(),
        "lattice of renders": LATTICE * lattice(renders).mean(),
        "convincing": CONVINCING * convincing,
        "critic": torch.stack(errors).mean(),
    }


def train_codec(data: Path, start: Path, *, minutes: float, device: str) -> None:
    """Trains from the model in folder `start`; checkpoints and log go to `data`."""
    pictures, judge = Pictures(data), Judge(weights_file(data), device)
    before = AutoencoderDC.from_pretrained(start / "vae").requires_grad_(False)
    vae = widened(before, *FINEST).to(device, memory_format=torch.channels_last)
    before = before.to(device, memory_format=torch.channels_last)
    vae.encoder.requires_grad_(False)
    unet = UNet2DConditionModel.from_pretrained(start / "unet").to(device, memory_format=torch.channels_last)
    unet.requires_grad_(False)
    schedule = schedule_of(DDIMScheduler.from_pretrained(start / "scheduler"), device)
    critic = Critic(judge).to(device)
    learning_critic = torch.optim.AdamW(critic.parameters(), CRITIC_RATE, betas=(0.5, 0.99))
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
            losses = step_losses(vae, before, judge, critic, pixels, latents, rendered)
            learning_critic.zero_grad()
            run.update(torch.stack(list(losses.values())).sum())
            learning_critic.step()
            run.report(losses)
        if run.save_is_due:
            run.save()
    run.save()


if __name__ == "__main__":
    from_command_line("codec", train_codec)
