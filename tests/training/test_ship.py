"""What was trained gets into the model's folder."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderDC, UNet2DConditionModel

from training.ship import ship
from training.widening import widened


def test_weights_are_shipped_with_the_shape_that_they_have_now(
    tmp_path: Path, unet: UNet2DConditionModel, vae: AutoencoderDC
) -> None:
    data, model = tmp_path / "data", tmp_path / "model"
    for name, network in (("unet", unet), ("vae", vae)):
        network.save_pretrained(model / name)
    unet.save_pretrained(data / "unet")
    wide = widened(vae, channels=12, blocks=2)
    wide.save_pretrained(data / "vae")
    rows = ship(data, model)
    assert [row.split("`")[1].split("/")[0] for row in rows] == ["unet", "vae"]
    shipped = AutoencoderDC.from_pretrained(model / "vae")
    assert all(
        torch.equal(value.half(), wide.state_dict()[name].half()) for name, value in shipped.state_dict().items()
    )
    for name in ("unet", "vae"):
        assert str(tmp_path) not in (model / name / "config.json").read_text()
    assert json.loads((model / "vae/config.json").read_text())["decoder_layers_per_block"][1] == 2
