from pathlib import Path

import pytest
import torch

from magicstyle_core.attention import recording
from magicstyle_core.backbone import Backbone
from magicstyle_core.inversion import invert
from magicstyle_core.schedule import ddim_timesteps, move

STEPS = 5


@pytest.fixture(scope="module")
def backbone(tiny_sd1: Path) -> Backbone:
    return Backbone.load(str(tiny_sd1), device="cpu", dtype="fp32")


def run(backbone: Backbone, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, dict, list[int]]:
    stored: dict[int, dict[str, torch.Tensor]] = {}
    steps = invert(
        backbone, latents, ddim_timesteps(STEPS, 1000), lambda i, features: stored.update({i: dict(features)})
    )
    yielded = []
    while True:
        try:
            yielded.append(next(steps))
        except StopIteration as stop:
            return *stop.value, stored, yielded


def test_features_and_noise_belong_to_the_latents_they_are_filed_under(backbone: Backbone) -> None:
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    before = backbone.unet_calls
    trajectory, noise, stored, yielded = run(backbone, latents)
    assert backbone.unet_calls - before == STEPS
    assert yielded == [1, 2, 3, 4, 5]
    assert torch.equal(trajectory[:1], latents)
    for i, timestep in enumerate(ddim_timesteps(STEPS, 1000)):
        with recording(backbone.unet, backbone.layers) as features:
            noise_pred = backbone.noise_pred(trajectory[i : i + 1], timestep)
        assert torch.equal(noise_pred, noise[i : i + 1])
        assert list(stored[i]) == [layer.name for layer in backbone.layers]
        assert all(torch.equal(features[name], stored[i][name]) for name in features)


def test_replaying_the_stored_noise_returns_the_image(backbone: Backbone) -> None:
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    trajectory, noise, _, _ = run(backbone, latents)
    timesteps = ddim_timesteps(STEPS, 1000)
    replayed = trajectory[-1:]
    for i in reversed(range(STEPS - 1)):
        above, below = backbone.alpha_cumprod(timesteps[i + 1]), backbone.alpha_cumprod(timesteps[i])
        replayed = move(replayed, noise[i : i + 1], above, below)
    torch.testing.assert_close(replayed, latents, rtol=0, atol=1e-4)


def test_stopping_an_inversion_restores_the_unet(backbone: Backbone) -> None:
    processors = dict(backbone.unet.attn_processors)
    steps = invert(backbone, torch.zeros(1, 4, 8, 8), ddim_timesteps(STEPS, 1000), lambda i, features: None)
    next(steps)
    before = backbone.unet_calls
    steps.close()
    assert backbone.unet_calls == before
    assert backbone.unet.attn_processors == processors
    assert not backbone.lock.locked()
