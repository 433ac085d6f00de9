"""A step of the decoder's training at tiny sizes."""

from __future__ import annotations

import copy

import torch
from diffusers import AutoencoderDC

from training.codec import Critic, alternation, colour_difference, critic_error, energy, printed, step_losses
from training.judge import GREY_LEVEL, Judge, lattice
from training.widening import widened


def test_the_decoder_loses_its_lattice_and_the_encoder_stays(vae: AutoencoderDC, judge: Judge) -> None:
    pixels = torch.rand(4, 3, 72, 72, generator=torch.Generator().manual_seed(2)) * 2 - 1
    wide, critic = widened(vae, channels=12, blocks=2), Critic()
    encoder, untaught = (copy.deepcopy(part.state_dict()) for part in (wide.encoder, critic))
    wide.encoder.requires_grad_(False)
    optimiser = torch.optim.AdamW([*wide.decoder.parameters(), *critic.parameters()], 3e-3)
    latents = vae.encode(pixels).latent * vae.config.scaling_factor
    rendered, totals = latents[:2].flip(1), []
    for _ in range(80):
        torch.manual_seed(0)  # which pictures the judge sees
        losses = step_losses(wide, vae, judge, critic, pixels, latents, rendered)
        # Noise is no picture that a decoder of this size could draw: convincing a critic of it leads elsewhere.
        total = torch.stack([loss for name, loss in losses.items() if name != "convincing"]).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(total.item())
    marks = "colour", "alternation", "printed", "energy", "lattice", "held", "lattice of renders"
    assert tuple(losses) == ("pixels", "features", *marks, "convincing", "critic")
    assert totals[-1] < totals[0]
    renders, drawn_before = (v.decode(rendered / v.config.scaling_factor).sample for v in (wide, vae))
    assert lattice(renders).mean() < 0.7 * lattice(drawn_before).mean()
    assert all(torch.equal(value, encoder[name]) for name, value in wide.encoder.state_dict().items())
    assert all(not torch.equal(value, untaught[name]) for name, value in critic.state_dict().items())


def test_the_decoder_alone_convinces_and_the_critic_alone_learns_to_tell(vae: AutoencoderDC, judge: Judge) -> None:
    pixels = torch.rand(4, 3, 72, 72, generator=torch.Generator().manual_seed(2)) * 2 - 1
    critic, latents = Critic(), vae.encode(pixels).latent * vae.config.scaling_factor
    vae.decoder.requires_grad_(True)
    for name, learns, stays in (("convincing", vae.decoder, critic), ("critic", critic, vae.decoder)):
        losses = step_losses(vae, copy.deepcopy(vae), judge, critic, pixels, latents, latents[:2])
        losses[name].backward()
        assert any(p.grad is not None and p.grad.any() for p in learns.parameters()), name
        assert all(p.grad is None for p in stays.parameters()), name
        learns.zero_grad()


def test_a_critic_learns_to_see_a_weave_of_two_grey_levels_over_strokes() -> None:
    generator, critic = torch.Generator().manual_seed(6), Critic()
    optimiser = torch.optim.AdamW(critic.parameters(), 1e-3, betas=(0.5, 0.99))
    rows, columns = torch.arange(64)[:, None], torch.arange(64)
    weave = 2 * GREY_LEVEL * (1 - 2 * ((rows + columns) % 4 < 2).float())
    for _ in range(80):
        coarse = torch.rand(4, 3, 16, 16, generator=generator) * 1.6 - 0.8
        pictures = torch.nn.functional.interpolate(coarse, (64, 64), mode="bicubic")
        error = critic_error(critic, pictures, pictures + weave)
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
    assert error < 0.5


def test_colour_difference_sees_flicker_and_no_grey_strokes() -> None:
    flat = torch.zeros(1, 3, 16, 16)
    grey, coloured = flat.clone(), flat.clone()
    grey[..., ::2] = 0.2
    coloured[:, 0, :, ::2] = 0.2
    assert colour_difference(grey, flat) < 1e-4
    assert colour_difference(coloured, flat) > 2 * colour_difference(flat + coloured.mean((2, 3), keepdim=True), flat)


def test_energy_tells_blur_and_not_shift() -> None:
    strokes = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3)) * 2 - 1
    blurred = torch.nn.functional.avg_pool2d(strokes, 3, 1, 1)
    assert (energy(blurred) < energy(strokes) - 1).all()
    assert (energy(strokes + 0.3) - energy(strokes)).abs().max() < 1e-4


def test_alternation_is_every_other_pixel_and_no_broad_stroke() -> None:
    chessboard, stripes, strokes = torch.full((3, 1, 3, 16, 16), -0.1)
    chessboard[..., ::2, ::2] = chessboard[..., 1::2, 1::2] = 0.1
    stripes[..., ::2] = 0.1
    strokes[..., :2] = strokes[..., 4:6] = strokes[..., 8:10] = strokes[..., 12:14] = 0.1
    for marks in (chessboard, stripes, stripes.mT):
        torch.testing.assert_close(alternation(marks), torch.tensor(0.1 / 3))
    assert alternation(strokes) < 1e-6


def test_what_repeats_from_square_to_square_is_printed_and_grain_is_not() -> None:
    generator = torch.Generator().manual_seed(5)
    print_ = 0.1 * torch.randn(1, 3, 8, 8, generator=generator).repeat(1, 1, 5, 5)
    grain = 0.1 * torch.randn(1, 3, 40, 40, generator=generator)
    assert printed(print_) > 0.95 * print_.abs().mean()
    assert printed(grain) < 0.4 * grain.abs().mean()
    assert printed(torch.zeros(1, 3, 24, 24)) == 0
