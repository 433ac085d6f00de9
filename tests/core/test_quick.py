"""Quick mode on tiny consistency models: noised once instead of inverted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import LCMScheduler
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from magicstyle_core import FusionSettings, InversionSettings, SettingsError, StyleEngine, quick
from magicstyle_core.hooks import Fusing, fused_attention
from tests.tiny_layouts import change_json, write_sd, write_unet

PLAIN = FusionSettings(detail=0, layers=("all",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quick") / "lcm"
    write_sd(folder)
    write_unet(folder, sample_size=32, time_cond_proj_dim=8)
    change_json("scheduler/scheduler_config.json", _class_name="LCMScheduler")(folder)
    return folder


@pytest.fixture
def engine(folder: Path) -> StyleEngine:
    return StyleEngine.load(str(folder), device="cpu", dtype="fp32")


@pytest.fixture
def exact(folder: Path) -> StyleEngine:
    return StyleEngine.load(str(folder), device="cpu", dtype="fp32", exact=True)


def picture(seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC)


def psnr(a: Image.Image, b: Image.Image) -> float:
    with np.errstate(divide="ignore"):
        return float(peak_signal_noise_ratio(np.asarray(a), np.asarray(b)))


def test_six_calls_to_the_first_picture_then_four(engine: StyleEngine) -> None:
    content, style = engine.invert(picture(0)), engine.invert(picture(1))
    assert engine.model.unet_calls == 2
    result = engine.stylize(content, style, PLAIN)
    assert (engine.model.unet_calls, result.unet_calls) == (6, 4)
    assert engine.stylize(content, style, PLAIN.replace(strength=0.5)).unet_calls == 4
    assert psnr(result.image, engine.decode(content)) < 60  # it does something


def test_ten_calls_keep_little_strength_at_the_photograph(engine: StyleEngine, exact: StyleEngine) -> None:
    found = []
    for each in (engine, exact):
        content, style = each.invert(picture(0)), each.invert(picture(1))
        result = each.stylize(content, style, PLAIN.replace(strength=1e-6))
        found.append((each.model.unet_calls, psnr(result.image, each.decode(content))))
        still = each.stylize(content, style, PLAIN.replace(strength=0))
        assert still.image.tobytes() == each.decode(content).tobytes()
    (six, near), (ten, nearer) = found
    assert (six, ten) == (6, 10)
    assert nearer >= 45 > near
    assert each.stylize(content, style, PLAIN).unet_calls == 4  # the estimates are remembered
    assert exact.model.options == {"exact": "yes"}


def test_the_steps_are_those_of_lcms_scheduler(engine: StyleEngine) -> None:
    for steps in (2, 4, 8):
        scheduler = LCMScheduler()
        scheduler.set_timesteps(steps, original_inference_steps=quick.SPACING, strength=quick.STRENGTH)
        assert engine.model.schedule(steps + 1).timesteps == (1, *reversed(scheduler.timesteps.tolist()))
    with pytest.raises(SettingsError, match=r"27 steps are asked for, .* has 26"):
        engine.model.schedule(27)


def test_the_attention_is_zepos_at_joint_and_one_half(engine: StyleEngine) -> None:
    """One softmax over the content's and the style's keys, a temperature on the style's (arXiv 2408.05492)."""
    content, style = engine.invert(picture(0)), engine.invert(picture(1))
    layer = engine.layers()[0]
    banks = [engine.store.bank(each.session, each.key) for each in (content, style)]
    inputs = [bank.fetch(1, [layer.name], bank.device)[layer.name].features.float() for bank in banks if bank]
    attn, target = engine.model.unet.get_submodule(layer.name), torch.randn(1, inputs[0].shape[1], inputs[0].shape[2])
    how = Fusing(torch.full((1, 1, 32, 32), 0.5), fusion="joint", temperature=1.2)
    with torch.no_grad():
        ours = fused_attention(attn, target, inputs[0], [inputs[1]], how, layer)

        def heads(projected: torch.Tensor) -> torch.Tensor:
            return projected.unflatten(-1, (attn.heads, -1)).transpose(1, 2)  # (1, heads, tokens, dim)

        query = heads(attn.to_q(target))
        key = torch.cat([heads(attn.to_k(inputs[0])), 1.2 * heads(attn.to_k(inputs[1]))], 2)
        value = torch.cat([heads(attn.to_v(each)) for each in inputs], 2)
        zepo = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        assert (ours - attn.to_out[0](zepo)).abs().max() < 1e-6


def test_features_that_were_not_kept_are_computed_as_they_were(folder: Path, engine: StyleEngine) -> None:
    bare = StyleEngine.load(str(folder), device="cpu", dtype="fp32", budget_bytes=1000)
    pictures = []
    for each in (engine, bare):
        content, style = (each.invert(picture(seed), InversionSettings(steps=3)) for seed in (0, 1))
        pictures.append(each.stylize(content, style, PLAIN).image)
    assert psnr(*pictures) >= 45
