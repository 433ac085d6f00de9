"""The first stage of the training, and its last: the autoencoder."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderDC
from diffusers.models.autoencoders.autoencoder_dc import ResBlock

from training.autoencoder import build_autoencoder
from training.colour import colour_difference
from training.pool import HELD_OUT, PICTURES, load_pool, to_tensor
from training.run import Run

NEARLY_PERFECT = 1e-3  # mean square error (36 dB) below which a crop has little left to teach
JUST_VISIBLE = 3.0  # the same for the colour difference
COLOUR = 10.0  # weight of the colour difference beside the square error
LATENT_NOISE = 0.03  # added to latents while the autoencoder learns, so that near latents decode alike
REFINING_NOISE = 0.01  # the same while the finished autoencoder learns on
HOLD = 2.0  # of the square of what latents move while the autoencoder learns on
PLAIN, REFINING_PLAIN = 0.5, 0.8  # share of plain pictures, and while the finished autoencoder learns on


def train_autoencoder(
    pool_folder: Path, folder: Path, *, refine: bool, minutes: float, device: str, bf16: bool, seed: int
) -> None:
    """Pixels to latents and back; the loss adds two logarithms, of the square error (that is the PSNR) and of the
    colour difference that people see, so that coarse drawings do not outweigh photographs.

    With `refine` the finished autoencoder learns on, and its latents are held near those that the UNet knows.
    """
    torch.manual_seed(seed)
    pool = load_pool(pool_folder)
    if refine:
        vae = AutoencoderDC.from_pretrained(folder / "vae")
    else:
        vae = build_autoencoder(to_tensor(pool[:100, :, 0].reshape(-1, *pool.shape[3:])))
    vae = vae.to(device, memory_format=torch.channels_last)
    known_encoder = copy.deepcopy(vae.encoder).requires_grad_(False) if refine else None
    blocks = [p for module in vae.modules() if isinstance(module, ResBlock) for p in module.parameters()]
    known = {id(p) for p in blocks}
    linear = [p for p in vae.parameters() if id(p) not in known]  # at their best already, so they move less
    path = folder / ("refine.pt" if refine else "autoencoder.pt")
    rates, noise = ((1e-3, 2e-4), REFINING_NOISE) if refine else ((1.5e-3, 2e-4), LATENT_NOISE)
    plain = REFINING_PLAIN if refine else PLAIN
    run = Run(vae, list(zip((blocks, linear), rates, strict=True)), path, minutes)
    rng = run.generator(seed)
    held_out = to_tensor(pool[-HELD_OUT:, 0].reshape(-1, *pool.shape[3:])).to(device)
    mean_loss, seen, start = 0.0, 0, time.monotonic()
    while run.fraction < 1:
        size, count = ((64, 16), (96, 7))[rng.integers(2)]
        pixels = to_tensor(pixel_crops(pool, rng, count, size, plain)).to(device, memory_format=torch.channels_last)
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            latents = vae.encode(pixels).latent.float()  # (count, 16, size / 8, size / 8)
            decoded = vae.decode(latents + noise * torch.randn_like(latents)).sample.float()
        square_error = (decoded - pixels).square().mean((1, 2, 3))  # (count,)
        difference = colour_difference(decoded, pixels).mean((1, 2))  # (count,)
        loss = ((square_error + NEARLY_PERFECT).log() + COLOUR * difference.add(JUST_VISIBLE).log()).mean()
        if known_encoder is not None:
            with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=bf16):
                known_latents = known_encoder(pixels).float()  # (count, 16, size / 8, size / 8)
            loss = loss + HOLD * (latents - known_latents).square().mean()
        run.update(loss)
        mean_loss, seen = 0.98 * mean_loss + 0.02 * loss.item(), seen + count
        if run.step % 200 == 0:
            with torch.no_grad():
                errors = (run.average(held_out).sample.clamp(-1, 1) - held_out).square().mean((1, 2, 3))
            print(
                f"{path.stem}: step {run.step}, {run.seconds / 60:.1f} min, "
                f"{seen / (time.monotonic() - start):.0f} crops/s, "
                f"loss {mean_loss:.3f}, held out {(10 * torch.log10(4 / errors)).mean():.2f} dB",
                flush=True,
            )
        if run.save_is_due:
            run.save()
    run.save()
    if not refine:
        with torch.no_grad():
            std = run.average.encode(held_out).latent.std().item()
        run.average.register_to_config(scaling_factor=1 / std)
    run.average.save_pretrained(folder / "vae")


def pixel_crops(pool: np.ndarray, rng: np.random.Generator, count: int, size: int, plain: float) -> np.ndarray:
    """Square crops, uint8 (count, size, size, 3), a share `plain` of plain pictures, by chance mirrored."""
    crops = []
    for _ in range(count):
        version = 0 if rng.random() < plain else rng.integers(1, pool.shape[2])
        picture = pool[rng.integers(len(pool) - HELD_OUT), rng.integers(PICTURES), version]  # (256, 256, 3)
        row, column = rng.integers(0, picture.shape[0] - size + 1, 2)
        crop = picture[row : row + size, column : column + size]
        crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    return np.stack(crops)
