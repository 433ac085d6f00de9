"""The decoder of the embedded model's autoencoder learns on by what a network sees; the encoder, so the latents, stay.

    python -m training.codec --data FOLDER --minutes 20 [--start assets/mini] [--device cuda]

Goes on from its checkpoint when started again; FOLDER/vae is as new as the last checkpoint.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderDC

from training.data import CONTENTS, STYLES, Pictures
from training.judge import Judge, adaattn_targets, feature_loss, style_loss, weights_file
from training.run import Run, from_command_line

SIZE, COUNT = 96, 6  # of a batch's windows
RATE = 3e-4
PIXELS, STYLE = 6.0, 0.5  # weights beside the features' 1: the round trip loses half a dB, and keeps brush strokes
NOISE = 0.03  # on the latents, so that near latents decode alike
SHARES = {**CONTENTS, **{name: share for name, share in STYLES.items()}}


def train_codec(data: Path, start: Path, *, minutes: float, device: str) -> None:
    """Trains from the model in folder `start`; checkpoints and log go to `data`."""
    pictures, judge = Pictures(data), Judge(weights_file(data), device)
    vae = AutoencoderDC.from_pretrained(start / "vae").to(device, memory_format=torch.channels_last)
    vae.encoder.requires_grad_(False)
    run = Run({"vae": vae}, {"vae.decoder": RATE}, data / "codec.pt", minutes)
    rng = run.generator()
    while run.fraction < 1:
        pixels = pictures.draw(rng, SHARES, COUNT, SIZE).to(device)  # (count, 3, size, size)
        with torch.no_grad():
            latents = vae.encode(pixels).latent
            seen = judge(pixels)
        decoded = vae.decode(latents + NOISE * torch.randn_like(latents)).sample
        features = judge(decoded)
        near = (decoded - pixels).abs().mean()
        alike = feature_loss(features, seen).mean()
        style = style_loss(features, seen, adaattn_targets(seen, seen)).mean()
        run.update(PIXELS * near + alike + STYLE * style)
        run.report({"pixels": near, "features": alike, "style": style})
        if run.save_is_due:
            run.save()
    run.save()


if __name__ == "__main__":
    from_command_line("codec", train_codec)
