"""A step of the decoder's training at tiny sizes."""

from __future__ import annotations

import copy

import torch
from diffusers import AutoencoderDC

from training.codec import checks, colour_difference, energy, step_losses
from training.judge import Judge, lattice


def test_the_decoder_loses_its_lattice_and_the_encoder_stays(vae: AutoencoderDC, judge: Judge) -> None:
    pixels = torch.rand(4, 3, 72, 72, generator=torch.Generator().manual_seed(2)) * 2 - 1
    before, encoder = copy.deepcopy(vae), copy.deepcopy(vae.encoder.state_dict())
    vae.decoder.requires_grad_(True)
    optimiser, totals = torch.optim.AdamW(vae.decoder.parameters(), 3e-3), []
    latents = vae.encode(pixels).latent * vae.config.scaling_factor
    rendered = latents[:2].flip(1)
    for _ in range(40):
        torch.manual_seed(0)  # which pictures the judge sees
        losses = step_losses(vae, before, judge, pixels, latents, rendered)
        total = torch.stack(list(losses.values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(total.item())
    names = "pixels", "features", "colour", "checks", "lattice", "held", "energy", "lattice of renders"
    assert tuple(losses) == names
    assert totals[-1] < totals[0]
    renders, drawn_before = (v.decode(rendered / v.config.scaling_factor).sample for v in (vae, before))
    assert lattice(renders).mean() < 0.7 * lattice(drawn_before).mean()
    assert all(torch.equal(value, encoder[name]) for name, value in vae.encoder.state_dict().items())


def test_energy_tells_blur_and_not_shift() -> None:
    strokes = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3)) * 2 - 1
    blurred = torch.nn.functional.avg_pool2d(strokes, 3, 1, 1)
    assert (energy(blurred) < energy(strokes) - 1).all()
    assert (energy(strokes + 0.3) - energy(strokes)).abs().max() < 1e-4


def test_colour_difference_sees_flicker_and_no_grey_strokes() -> None:
    flat = torch.zeros(1, 3, 16, 16)
    grey, coloured = flat.clone(), flat.clone()
    grey[..., ::2] = 0.2
    coloured[:, 0, :, ::2] = 0.2
    assert colour_difference(grey, flat) < 1e-4
    assert colour_difference(coloured, flat) > 2 * colour_difference(flat + coloured.mean((2, 3), keepdim=True), flat)


def test_checks_are_single_pixels_and_no_edges() -> None:
    chessboard, edge = torch.zeros(2, 1, 3, 16, 16)
    chessboard[..., ::2, ::2] = chessboard[..., 1::2, 1::2] = 0.2
    edge[..., 8:] = 0.2
    assert checks(chessboard) > 0.3
    assert checks(edge) == 0
