"""A decoder with a wider last stage draws what it drew, and its new parts learn."""

from __future__ import annotations

import copy

import torch
from diffusers import AutoencoderDC

from training.widening import STAGE, widened


def test_a_widened_decoder_draws_the_same_and_its_new_parts_learn(vae: AutoencoderDC) -> None:
    latents = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(4))
    wide = widened(vae, channels=12, blocks=3)
    assert wide.config.decoder_block_out_channels[1] == 12
    assert wide.config.decoder_layers_per_block[1] == 3
    drawn = vae.decode(latents).sample
    assert (wide.decode(latents).sample - drawn).abs().max() < 1e-4 * drawn.abs().max()

    optimiser = torch.optim.SGD(wide.decoder.parameters(), 1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        (wide.decode(latents).sample - 1).square().mean().backward()
        optimiser.step()
    weights = dict(wide.named_parameters())
    assert weights[f"{STAGE}.3.norm.weight"].abs().min() > 0
    assert weights["decoder.conv_out.conv.weight"][:, 8:].abs().min() > 0
    for name in (f"{STAGE}.0.conv.weight", f"{STAGE}.1.conv1.weight", f"{STAGE}.3.conv1.weight"):
        gradient = weights[name].grad
        assert gradient is not None
        assert gradient[8:].flatten(1).norm(dim=1).min() > 0, name


def test_a_decoder_that_is_wide_already_stays(vae: AutoencoderDC) -> None:
    before = copy.deepcopy(vae.state_dict())
    same = widened(vae, channels=8, blocks=1)
    for network in (same, vae):
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
