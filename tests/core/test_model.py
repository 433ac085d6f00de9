from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.pipelines.latent_consistency_models.pipeline_latent_consistency_img2img import (
    LatentConsistencyModelImg2ImgPipeline,
)
from PIL import Image

from magicstyle_core.errors import SettingsError
from magicstyle_core.loading import load
from magicstyle_core.model import Model, guidance_embedding, with_margin, without_margin
from magicstyle_core.pixels import to_tensor
from tests.tiny_models import tiny_model


@pytest.fixture(scope="module")
def mini() -> Model:
    return load("mini", device="cpu", dtype="fp32")


@pytest.fixture(scope="module", params=[1, 2])
def tiny(request: pytest.FixtureRequest, tiny_sd1: Path, tiny_sd2: Path) -> Model:
    return load(str(tiny_sd1 if request.param == 1 else tiny_sd2), device="cpu", dtype="fp32")


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_every_row_of_a_batch_comes_out_as_alone(mini: Model, tiny: Model) -> None:
    for model, channels in ((mini, 16), (tiny, 4)):
        pixels = noise(3, 3, 64, 48).clamp(-1, 1)
        latents = model.encode(pixels)
        assert latents.shape == (3, channels, 8 + 2 * model.margin, 6 + 2 * model.margin)
        for together, action, given in (
            (latents, model.encode, pixels),
            (model.decode(latents), model.decode, latents),
            (model.denoise(latents, 501), lambda z, model=model: model.denoise(z, 501), latents),
        ):
            alone = torch.cat([action(row[None]) for row in given])
            assert (together - alone).abs().max() < 1e-4 * alone.abs().max()


def test_noise_is_what_the_scheduler_takes_it_for(tiny: Model) -> None:
    """Epsilon and v prediction, by diffusers' own DDIM step from the very output of the UNet."""
    latents, timestep = noise(2, 4, 8, 8), 501
    output = tiny.unet(latents, timestep, tiny.prompt.tokens.expand(2, -1, -1)).sample
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        prediction_type=tiny.prediction_type,
    )  # fmt: skip
    scheduler.set_timesteps(1000)
    x0 = scheduler.step(output, timestep, latents).pred_original_sample
    alpha = tiny.alphas_cumprod[timestep]
    assert torch.allclose(
        tiny.denoise(latents, timestep), (latents - alpha.sqrt() * x0) / (1 - alpha).sqrt(), atol=1e-4
    )


def test_a_schedule_lies_below_the_models_own_end_of_noise(tiny_sd1: Path) -> None:
    model = tiny_model(tiny_sd1, t_max=600)
    schedule = model.schedule(4)
    assert schedule.timesteps == (1, 151, 301, 451)
    assert torch.equal(schedule.alphas, model.alphas_cumprod[[1, 151, 301, 451]])
    assert schedule.final_alpha == model.alphas_cumprod[0]
    with pytest.raises(SettingsError, match="601 steps are asked for, .* has 600"):
        model.schedule(601)


def test_encode_and_decode_invert_the_scaling(tiny: Model) -> None:
    pixels = noise(1, 3, 64, 40).clamp(-1, 1)
    latents = tiny.encode(pixels)
    assert torch.equal(latents, tiny.encode(pixels)), "the mean, never a sample"
    assert torch.equal(tiny.decode(latents), tiny.vae.decode(latents / tiny.vae.config.scaling_factor).sample)


def test_encoding_again_what_decoding_loses_keeps_more(mini: Model, astronaut: Image.Image) -> None:
    pixels = to_tensor(np.asarray(astronaut.resize((128, 128))))
    share, lost = mini.encode_again, []
    assert share
    for mini.encode_again in (0.0, share):
        lost.append((mini.decode(mini.encode(pixels)) - pixels).square().mean())
    mini.encode_again = share
    assert lost[1] < 0.98 * lost[0]


def test_a_strength_map_has_the_latents_size_and_the_picture_its_own(mini: Model) -> None:
    mask = torch.zeros(1, 1, 64, 48)
    mask[..., 12:48] = 1
    strength = mini.strength_map(mask)
    latents = mini.encode(torch.zeros(1, 3, 64, 48))
    assert strength.shape[2:] == latents.shape[2:]
    assert mini.of_the_picture(strength)[0, 0, 0].tolist() == [0, 0.5, 1, 1, 1, 1]
    assert strength[0, 0, 0].tolist() == [0.5, 0, 0, 0.5, 1, 1, 1, 1, 1, 1]


def test_a_margin_repeats_the_rim_mirrored_and_comes_off_again() -> None:
    maps = torch.arange(12.0).view(1, 1, 3, 4).expand(2, 1, 3, 4)
    wide = with_margin(maps, 2)
    assert wide[1, 0, 2].tolist() == [1, 0, 0, 1, 2, 3, 3, 2]
    assert wide[0, 0, :, 2].tolist() == [4, 0, 0, 4, 8, 8, 4]
    assert torch.equal(without_margin(wide, 2), maps)
    assert torch.equal(with_margin(maps, 0), maps)
    assert torch.equal(without_margin(maps, 0), maps)


@pytest.mark.parametrize("channels", [32, 33])
def test_guidance_is_embedded_as_diffusers_does(channels: int) -> None:
    theirs = LatentConsistencyModelImg2ImgPipeline.get_guidance_scale_embedding(None, torch.tensor([7.5]), channels)
    assert torch.allclose(guidance_embedding(7.5, channels), theirs, atol=1e-3)  # angles up to 7,500 in fp32


def test_tiles_begin_where_the_models_own_size_and_1024_end(tiny_sd1: Path) -> None:
    model = tiny_model(tiny_sd1, t_max=1000)
    assert model.vae.config.sample_size == 64  # left alone, the VAE would cut a picture of 128 into tiles
    assert (model.vae.tile_sample_min_size, model.vae.tile_latent_min_size) == (1024, 128)
    pixels = noise(1, 3, 128, 128).clamp(-1, 1)
    tiled = model.encode(pixels)
    model.vae.disable_tiling()
    assert torch.equal(tiled, model.encode(pixels))
