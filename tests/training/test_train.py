from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC, UNet2DConditionModel
from skimage.color import deltaE_ciede2000, rgb2lab

from magicstyle_core.attention import FusionInputs, fusing, recording, self_attention_layers
from magicstyle_core.backbone import Backbone
from training import pool as pools
from training import train
from training.autoencoder import build_autoencoder, principal_components
from training.colour import colour_difference
from training.pool import to_tensor
from training.run import Run
from training.train_autoencoder import train_autoencoder


def smooth_images(count: int, size: int = 64) -> torch.Tensor:
    coarse = torch.rand(count, 3, size // 8 + 1, size // 8 + 1, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return F.interpolate(coarse, (size, size), mode="bicubic").clamp(-1, 1)


@pytest.fixture(scope="module")
def small_unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=16,
        out_channels=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=train.PROMPT_DIM,
        attention_head_dim=(1, 2),
        norm_num_groups=16,
    ).eval()


@torch.no_grad()
def test_untrained_autoencoder_is_the_linear_patch_transform() -> None:
    images = smooth_images(24)
    mean, components, _ = principal_components(images)
    patches = F.pixel_unshuffle(images, 8).permute(0, 2, 3, 1)  # (24, 8, 8, 192)
    projected = (patches - mean) @ components.T @ components + mean
    expected = F.pixel_shuffle(projected.permute(0, 3, 1, 2), 8)
    decoded = build_autoencoder(images)(images).sample
    assert (decoded - expected).square().mean().sqrt() < 0.02
    assert (decoded - images).square().mean() < 1.2 * (expected - images).square().mean() + 4e-4


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(8, 8), (40, 72), (264, 120)])
def test_autoencoder_takes_any_multiple_of_eight(height: int, width: int) -> None:
    vae = build_autoencoder(smooth_images(8))
    latents = vae.encode(torch.zeros(1, 3, height, width)).latent
    assert latents.shape == (1, 16, height // 8, width // 8)
    assert vae.decode(latents).sample.shape == (1, 3, height, width)


def test_pool_is_rendered_by_seed_and_styles_cover_every_picture() -> None:
    block = pools.render_block(seed=0, block=1)
    assert block.shape == (pools.PICTURES, pools.VERSIONS, 256, 256, 3)
    assert np.array_equal(block, pools.render_block(seed=0, block=1))
    changed = np.abs(block[:, 1:].astype(int) - block[:, :1]).mean((2, 3, 4))  # (pictures, versions - 1)
    assert (changed > 1).all()


def test_colour_difference_is_ciede2000() -> None:
    first, second = np.random.default_rng(0).integers(0, 256, (2, 2, 16, 16, 3)).astype(np.uint8)
    expected = deltaE_ciede2000(rgb2lab(first), rgb2lab(second))
    found = colour_difference(to_tensor(first), to_tensor(second))  # (2, 16, 16)
    np.testing.assert_allclose(found.numpy(), expected, atol=0.02)


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_colour_difference_has_a_gradient_at_grey(value: float) -> None:
    grey = torch.full((1, 3, 4, 4), value, requires_grad=True)
    colour_difference(grey + 0.1, grey.detach()).mean().backward()
    assert grey.grad.isfinite().all()


def test_examples_are_crops_with_sliders_in_range() -> None:
    latents = torch.randn(3, pools.PICTURES, pools.VERSIONS, 16, 16, 16)
    examples = train.draw_examples(latents, np.random.default_rng(5), 40, 8)
    assert examples.content.shape == examples.style.shape == examples.target.shape == (40, 16, 8, 8)
    assert examples.strength.shape == examples.structure.shape == (40, 1, 1, 1)
    assert 0 <= examples.strength.min() < 1 < examples.strength.max() <= 1.5
    kept = (examples.content == examples.target).all(dim=(1, 2, 3))
    assert torch.equal(examples.recoloured[kept], examples.content[kept])
    assert not torch.equal(examples.recoloured, examples.content)
    assert 1 / 14 < kept.float().mean() < 1 / 2  # strength 0, or a picture that is its own style


@torch.no_grad()
def test_training_rows_see_what_inversion_and_render_see(small_unet: UNet2DConditionModel) -> None:
    content, style, target = torch.randn(3, 1, 16, 8, 8)
    null_prompt, timestep = torch.zeros(1, 1, train.PROMPT_DIM), torch.tensor([400])
    layers = self_attention_layers(small_unet)
    features = []
    for latents in (content, style):
        with recording(small_unet, layers) as recorded:
            expected = small_unet(latents, timestep, null_prompt).sample
        features.append(dict(recorded))
        if latents is content:
            expected_content = expected
    inputs = FusionInputs(features[0], [features[1]], [1.0], 0.7, 0.3, 1.2, "blend")
    with fusing(small_unet, layers, inputs, (8, 8)):
        expected_target = small_unet(target, timestep, null_prompt).sample

    attention = train.TrainingAttention()
    attention.state = train.FusionState(torch.full((1, 1, 1, 1), 0.7), torch.full((1, 1, 1, 1), 0.3), 1.2)
    originals = dict(small_unet.attn_processors)
    small_unet.set_attn_processor({name: attention if ".attn1." in name else p for name, p in originals.items()})
    rows = small_unet(torch.cat([content, style, target]), timestep.repeat(3), null_prompt.repeat(3, 1, 1)).sample
    small_unet.set_attn_processor(originals)
    torch.testing.assert_close(rows[:1], expected_content, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(rows[2:], expected_target, atol=1e-4, rtol=1e-4)


def test_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    def start() -> Run:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1)
        return Run(model, [(list(model.parameters()), 1e-2)], tmp_path / "run.pt", minutes=1.0)

    first = start()
    for _ in range(5):
        first.update(first.model(torch.ones(2, 3)).square().mean())
    first.save()
    again = start()
    assert again.step == 5
    assert again.seconds == pytest.approx(first.seconds, abs=0.5)
    assert torch.equal(again.model.weight, first.model.weight)
    assert torch.equal(again.average.weight, first.average.weight)
    assert not torch.equal(again.average.weight, again.model.weight)


def test_a_short_training_runs_from_pool_to_a_model_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for block in range(pools.HELD_OUT + 1):
        pictures = rng.integers(0, 256, (pools.PICTURES, pools.VERSIONS, 128, 128, 3), dtype=np.uint8)
        np.save(pools.block_path(tmp_path, block), pictures)
    monkeypatch.setattr(train, "CROPS", ((8, 1, 1), (16, 1, 1)))
    budget = dict(minutes=0.01, device="cpu", bf16=True, seed=0)
    train_autoencoder(tmp_path, tmp_path, refine=False, **budget)
    finished = AutoencoderDC.from_pretrained(tmp_path / "vae")
    train_autoencoder(tmp_path, tmp_path, refine=True, **budget)
    refined = AutoencoderDC.from_pretrained(tmp_path / "vae")
    assert refined.config.scaling_factor == finished.config.scaling_factor
    before, after = finished.state_dict(), refined.state_dict()
    changed = {name.split(".")[0] for name, weight in after.items() if not torch.equal(weight, before[name])}
    assert changed == {"encoder", "decoder"}
    for rollouts in (False, True):
        train.train_unet(tmp_path, tmp_path, rollouts=rollouts, export_to=tmp_path / "model", **budget)
    backbone = Backbone.load(str(tmp_path / "model"), device="cpu", dtype="fp32")
    assert (backbone.size, backbone.multiple, backbone.margin) == (256, 8, 1)
    assert backbone.prediction_type == "v_prediction"
    assert backbone.noise_pred(torch.randn(1, 16, 8, 8), 500).isfinite().all()


def test_pairs_are_the_same_places_in_latents_and_pixels() -> None:
    rng = np.random.default_rng(0)
    latents = torch.randn(3, pools.PICTURES, pools.VERSIONS, 16, 8, 8)
    means = latents[:, :, :, :3].permute(0, 1, 2, 4, 5, 3)  # (blocks, pictures, versions, 8, 8, 3)
    pool = ((means.numpy() + 4) * 30).repeat(8, 3).repeat(8, 4).astype(np.uint8)
    pairs = train.draw_pairs(latents, pool, rng, 6, 4)
    assert pairs.content.shape == pairs.style.shape == (6, 16, 4, 4)
    for cut, pixels in ((pairs.content, pairs.content_pixels), (pairs.style, pairs.style_pixels)):
        assert pixels.shape == (6, 3, 32, 32)
        torch.testing.assert_close((cut[:, :3] + 4) * 30 / 127.5 - 1, pixels[:, :, ::8, ::8], atol=1 / 127, rtol=0)
