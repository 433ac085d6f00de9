"""The decoder of the embedded model's autoencoder learns on; the encoder, and so the latents, stay.

    python -m training.codec --data FOLDER --minutes 60 [--start assets/mini] [--device cuda]

Its finest stage, at half a picture's size, gets as many channels and blocks as FINEST says, unless it has them. Round
trips have to come back as a network sees them. Renders by the start's UNet, whose latents no encoder gives, have no
picture to come back to: from afar they stay as the start's decoder draws them. Close up a critic must tell neither from
pictures: latents do not say where every pixel's detail lies, and of what is uncertain a distance wants the mean, which
is blur. What a decoder likes to print everywhere has losses of its own. Goes on from its checkpoints when started
again; FOLDER/vae is as new as those.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from magicstyle_core.hooks import self_attention_layers
from training.data import CONTENTS, STYLES, Pictures
from training.fusion import fine_layers, fusing, inverted, live_render
from training.judge import BLOCK, GREY_LEVEL, Judge, detail, feature_loss, lattice, weights_file
from training.run import Run, from_command_line
from training.train import draw_strengths, schedule_of
from training.widening import widened

FINEST = (48, 3)  # channels and blocks at half size; with (24, 1) relief and weaves stayed; costs 10 to 50 ms a picture
PHOTOGRAPHS, SIZE = 3, 136  # and as many style pictures; pixels along a side: three tiles of `lattice` and a seam
PAIRINGS = 3  # steps with the same inversions
ALL_LAYERS = 0.25  # share of renders with FFA in all layers, as in training.matching
RATE, CRITIC_RATE = 1.5e-4, 2e-4  # at 3e-4 the decoder stood still after six minutes; the critic's first guess
SQUARES = 3  # along a side; of grain a third is left in their mean
PLACE = 16  # pixels along the square that is to have as much detail as it should: two latents
AFAR = 4  # pixels along the square whose mean a render keeps; what is finer is the decoder's to draw
CRITIC_FIRST = 150  # batches before the decoder learns: on round trips its loss falls from 2 to .25 in them
# Weights of the losses. In the gradient of the last layer pixels, features and what is printed have a norm of about 1,
# colour and alternation 4, energy 20, the critic 140. With pixels 4, features 8, alternation 20, printed 8 round trips
# had .1 to .2 dB more and less texture (docs/training.md); where colour and single pixels led, all blurred. Before the
# critic saw them, marks came where one loss was missing: flickering colours, dots along outlines, chessboards, weaves.
PIXELS, FEATURES, CONVINCING = 2.0, 4.0, 0.1
COLOUR, ALTERNATION, PRINTED, ENERGY = 2.0, 5.0, 2.0, 1.0
LATTICE, HELD = 0.5, 4.0
CHROMA = ((-0.1687, -0.3313, 0.5), (0.5, -0.4187, -0.0813))  # Cb and Cr of RGB, ITU-R BT.601


class Critic(nn.Module):
    """Tells pictures from what a decoder draws, place by place; a place is 28 pixels wide."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            nn.Conv2d(6, 32, 3),
            nn.LeakyReLU(0.2),
            nn.Conv2d(32, 64, 4, stride=2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(64, 128, 4, stride=2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(128, 128, 3),
            nn.LeakyReLU(0.2),
            nn.Conv2d(128, 1, 3),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Scores of places, (pictures, 1, rows, columns); above 0: a picture.

        It sees pictures and their detail. Of that a grey level in skies counts like many along outlines, or the critic
        is blind to what a decoder prints: its loss alone falls to 1.3 then, not to .25.
        """
        scores: Tensor = self.stages(torch.cat([pixels, (detail(pixels) / GREY_LEVEL).asinh()], 1))
        return scores


def critic_error(critic: Critic, pixels: Tensor, drawn: Tensor) -> Tensor:
    """The hinge loss of the critic alone: 2 where it tells nothing. No gradient reaches what was drawn."""
    real, false = critic(torch.cat([pixels, drawn.detach()])).tensor_split([len(pixels)])
    return F.relu(1 - real).mean() + F.relu(1 + false).mean()


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
        before: how renders are to look from afar.
        pixels: pictures (pictures, 3, height, width) in [-1, 1]; `latents` are theirs.
        rendered: latents of renders (renders, channels, rows, columns), at most as many as there are pictures.
    """
    scale, count = vae.config.scaling_factor, len(rendered)
    drawn = vae.decode(torch.cat([rendered, latents]) / scale).sample
    renders, trips = drawn.tensor_split([count])
    some = torch.randperm(len(pixels), device=pixels.device)[:count]  # the network is the most of the work
    with torch.no_grad():
        wanted = before.decode(rendered / scale).sample
        seen = judge(pixels[some])
    critic.requires_grad_(False)
    convincing = -critic(drawn).mean()
    critic.requires_grad_(True)
    return {
        "pixels": PIXELS * (trips - pixels).abs().mean(),
        "features": FEATURES * feature_loss(judge(trips[some]), seen).mean(),
        "colour": COLOUR * (colour_difference(trips, pixels) + colour_difference(renders, wanted)),
        "alternation": ALTERNATION * (alternation(trips - pixels) + alternation(renders - wanted)),
        "printed": PRINTED * (printed(trips - pixels) + printed(detail(renders))),
        "energy": ENERGY * (energy(trips) - energy(pixels)).abs().mean(),
        "lattice": LATTICE * F.relu(lattice(trips) - lattice(pixels)).mean(),
        "held": HELD * F.avg_pool2d(renders - wanted, AFAR).abs().mean(),
        "lattice of renders": LATTICE * lattice(renders).mean(),
        "convincing": CONVINCING * convincing,
        "critic": critic_error(critic, pixels, drawn),
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
    critic, saved = Critic().to(device), data / "critic.pt"
    learning_critic = torch.optim.AdamW(critic.parameters(), CRITIC_RATE, betas=(0.5, 0.99))
    run = Run({"vae": vae}, {"vae.decoder": RATE}, data / "codec.pt", minutes)
    rng = run.generator()
    places = torch.arange(PHOTOGRAPHS, device=device)

    @torch.no_grad()
    def draw() -> tuple[Tensor, Tensor]:
        """Photographs and as many style pictures (2 * PHOTOGRAPHS, 3, SIZE, SIZE), and their latents."""
        drawn = [pictures.draw(rng, shares, PHOTOGRAPHS, SIZE) for shares in (CONTENTS, STYLES)]
        pixels = torch.cat(drawn).to(device)
        return pixels, vae.encode(pixels).latent * vae.config.scaling_factor

    def save() -> None:
        run.save()
        torch.save(critic.state_dict(), saved)

    if saved.exists():
        critic.load_state_dict(torch.load(saved, weights_only=True, map_location=device))
    for _ in range(0 if saved.exists() else CRITIC_FIRST):
        pixels, latents = draw()
        with torch.no_grad():
            trips = vae.decode(latents / vae.config.scaling_factor).sample
        learning_critic.zero_grad()
        critic_error(critic, pixels, trips).backward()
        learning_critic.step()
    while run.fraction < 1:
        pixels, latents = draw()
        known = inverted(unet, schedule, latents)
        for turn in range(PAIRINGS):
            strength = latents.new_full((1, 1, *latents.shape[2:]), draw_strengths(rng, 1).item())
            how = fusing(strength)
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
            save()
    save()


if __name__ == "__main__":
    from_command_line("codec", train_codec)
