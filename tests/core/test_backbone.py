import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from PIL import Image

from magicstyle_core import FusionSettings, InversionSettings, ModelError, StyleEngine
from magicstyle_core.backbone import Backbone


def test_sd1_layout_loads(tiny_sd1: Path) -> None:
    backbone = Backbone.load(str(tiny_sd1), device="cpu", dtype="fp32")
    assert backbone.prediction_type == "epsilon"
    assert (backbone.size, backbone.multiple, backbone.margin) == (64, 8, 0)
    assert backbone.null_prompt.shape == (1, 77, 32)
    scheduler = DDIMScheduler.from_pretrained(tiny_sd1, subfolder="scheduler")
    assert torch.equal(backbone.alphas_cumprod, scheduler.alphas_cumprod)
    assert backbone.final_alpha_cumprod == scheduler.alphas_cumprod[0]


def test_sd2_layout_loads(tiny_sd2: Path) -> None:
    assert Backbone.load(str(tiny_sd2), device="cpu", dtype="fp32").prediction_type == "v_prediction"


def test_both_layouts_stylize(tiny_sd1: Path, tiny_sd2: Path) -> None:
    rng = np.random.default_rng(0)
    image, style = (Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)) for _ in range(2))
    for folder in (tiny_sd1, tiny_sd2):
        engine = StyleEngine.load(str(folder), device="cpu", dtype="fp32")
        content, reference = (engine.invert(i, InversionSettings(steps=4)) for i in (image, style))
        picture = engine.stylize(content, reference, FusionSettings())
        assert picture.image.size == (64, 48)
        assert picture.unet_calls == 4
        assert picture.image.tobytes() != engine.decode(content).tobytes()


def test_the_null_prompt_is_kept_and_the_text_encoder_dropped(tiny_sd1: Path, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = Backbone.load(str(tiny_sd1), device="cpu", dtype="fp32")
    (kept,) = (tmp_path / "magicstyle").iterdir()
    written = kept.stat().st_mtime_ns
    again = Backbone.load(str(tiny_sd1), device="cpu", dtype="fp32")
    assert torch.equal(first.null_prompt, again.null_prompt)
    assert kept.stat().st_mtime_ns == written
    assert not any("CLIP" in type(value).__name__ for value in vars(again).values())


def test_an_uncached_hub_id_offline_says_what_to_do(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"not cached.*Give a folder with --model, or use mini"):
        Backbone.load("sd15")


def test_wrong_names_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no folder"):
        Backbone.load(str(tmp_path / "nothing"))
    with pytest.raises(ModelError, match="in diffusers layout"):
        Backbone.load(str(tmp_path))
    with pytest.raises(ModelError, match="neither a folder nor a hub id"):
        Backbone.load("no such model!")


@pytest.mark.parametrize(("option", "value"), [("device", "tpu"), ("dtype", "int4")])
def test_wrong_device_or_dtype_is_named(tiny_sd1: Path, option: str, value: str) -> None:
    with pytest.raises(ModelError, match=value):
        Backbone.load(str(tiny_sd1), **{option: value})


def test_auto_dtype_on_a_cpu_runs(tiny_sd1: Path) -> None:
    assert Backbone.load(str(tiny_sd1), device="cpu", dtype="auto").dtype in (torch.float32, torch.bfloat16)


def backbone_with(unet: UNet2DConditionModel, null_prompt: torch.Tensor, **scheduler: str) -> Backbone:
    vae = AutoencoderTiny(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4)
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    return Backbone("tiny", unet, vae, DDIMScheduler(**betas, **scheduler), null_prompt, torch.device("cpu"))


def test_a_sample_predicting_model_is_refused(tiny_sd1: Path) -> None:
    unet = UNet2DConditionModel.from_pretrained(tiny_sd1, subfolder="unet")
    with pytest.raises(ModelError, match="predicts 'sample'"):
        backbone_with(unet, torch.zeros(1, 1, 32), prediction_type="sample")


def test_values_that_overflow_half_precision_are_retried_in_fp32(tiny_sd1: Path, caplog) -> None:
    unet = UNet2DConditionModel.from_pretrained(tiny_sd1, subfolder="unet")
    with torch.no_grad():
        unet.conv_in.weight.mul_(5e4 / unet.conv_in.weight.abs().max())  # fits fp16, what comes out of it does not
    backbone = backbone_with(unet.half(), torch.zeros(1, 1, 32))
    assert backbone.dtype == torch.float16
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with caplog.at_level(logging.WARNING):
        noise_pred = backbone.noise_pred(latents, 501)
    assert noise_pred.isfinite().all()
    assert backbone.dtype == torch.float32
    assert "runs in fp32 from now on" in caplog.text


def test_values_not_finite_in_fp32_are_an_error(tiny_sd1: Path) -> None:
    unet = UNet2DConditionModel.from_pretrained(tiny_sd1, subfolder="unet")
    backbone = backbone_with(unet, torch.zeros(1, 1, 32))
    with torch.no_grad():
        unet.conv_out.weight.fill_(torch.nan)
    with pytest.raises(ModelError, match="not finite at timestep 501, even in fp32"):
        backbone.noise_pred(torch.zeros(1, 4, 8, 8), 501)


def test_encode_and_decode_invert_the_scaling(tiny_sd1: Path) -> None:
    backbone = Backbone.load(str(tiny_sd1), device="cpu", dtype="fp32")
    pixels = torch.rand(1, 3, 64, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents = backbone.encode(pixels)
    assert latents.shape == (1, 4, 8, 5)
    assert torch.equal(latents, backbone.encode(pixels)), "the mean, never a sample"
    raw = backbone.vae.decode(latents / backbone.vae.config.scaling_factor).sample
    assert torch.equal(backbone.decode(latents), raw)
