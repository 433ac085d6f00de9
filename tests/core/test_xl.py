"""A tiny Stable Diffusion XL through engine and command line, with the defaults."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from magicstyle_core import FusionSettings, InversionSettings, StyleEngine
from magicstyle_core.__main__ import main
from magicstyle_core.layers import choose_layers
from magicstyle_core.settings import PRESETS
from tests.tiny_layouts import change_json, write_xl


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("xl") / "model"
    write_xl(folder)
    return folder


def noise_picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def test_a_small_budget_holds_the_chosen_layers_alone(folder: Path) -> None:
    settings = InversionSettings(steps=3, size=64)
    whole = StyleEngine.load(str(folder), device="cpu", dtype="fp32")
    small = StyleEngine.load(str(folder), device="cpu", dtype="fp32", budget_bytes=300_000)
    preset = FusionSettings(**PRESETS[small.model.preset]).replace(detail=0)
    chosen = {layer.name for layer in choose_layers(small.model.layers, preset.layers)}
    assert chosen < {layer.name for layer in small.model.layers}
    pictures = []
    for engine in (whole, small):
        content, style = (engine.invert(noise_picture(seed), settings) for seed in (0, 1))
        pictures.append(engine.stylize(content, style, preset).image)
        bank = engine.store.bank(content.session, content.key)
        assert bank is not None
        names = {name for _, name in bank.rows}
        assert names == (chosen if engine is small else {layer.name for layer in engine.model.layers})
        tokens = {
            layer.name: int(np.prod(layer.size(*content.trajectory.latents.shape[3:]))) for layer in engine.layers()
        }
        channels = {name: engine.model.unet.get_submodule(name).to_q.in_features for name in names}
        assert bank.nbytes == 3 * sum(2 * tokens[name] * channels[name] for name in names)  # fp16
    assert pictures[0].tobytes() == pictures[1].tobytes()


def test_the_unet_is_told_the_size_of_the_picture(folder: Path) -> None:
    model = StyleEngine.load(str(folder), device="cpu", dtype="fp32").model
    conditions = model.conditions(2, 24, 32)
    assert conditions["added_cond_kwargs"]["time_ids"].tolist() == [[48, 64, 0, 0, 48, 64]] * 2
    assert conditions["encoder_hidden_states"].shape == (2, 77, 16)
    assert conditions["added_cond_kwargs"]["text_embeds"].shape == (2, 8)


def test_the_vae_stays_in_fp32_where_its_config_says_so(folder: Path, tmp_path: Path) -> None:
    model = StyleEngine.load(str(folder), device="cpu", dtype="fp16").model
    assert (model.unet.dtype, model.vae.dtype) == (torch.float16, torch.float32)
    shutil.copytree(folder, tmp_path / "fixed")
    change_json("vae/config.json", force_upcast=False)(tmp_path / "fixed")
    assert StyleEngine.load(str(tmp_path / "fixed"), device="cpu", dtype="fp16").model.vae.dtype == torch.float16


def test_the_command_line_draws(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, seed in (("photo.png", 0), ("style.png", 1)):
        noise_picture(seed).save(name)
    arguments = [
        "stylize",
        "photo.png",
        "--style",
        "style.png",
        "-o",
        "out.png",
        "--model",
        str(folder),
        "--size",
        "64",
    ]
    assert main(arguments) == 0
    with Image.open("out.png") as picture:
        assert picture.size == (64, 64)
