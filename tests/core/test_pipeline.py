"""The engine through diffusers' own front door."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusers import DiffusionPipeline
from PIL import Image

from magicstyle_core import ASSETS, FusionSettings, InversionSettings, SettingsError, StyleEngine, pipeline
from magicstyle_core.settings import apply_preset
from tests.tiny_layouts import write_sd, write_xl


def loaded(folder: Path) -> Any:
    return DiffusionPipeline.from_pretrained(folder, custom_pipeline=pipeline.__file__, trust_remote_code=True)


@pytest.mark.parametrize("write", [None, write_sd, write_xl])
def test_a_folder_draws_as_the_engine_does(
    write: Callable[[Path], None] | None, tmp_path: Path, astronaut: Image.Image, painted: Image.Image
) -> None:
    folder = tmp_path / "model" if write else ASSETS / "mini"
    if write:
        write(folder)
    through = loaded(folder)
    picture = through(astronaut, painted, steps=3, size=64, strength=0.8).images[0]
    engine = StyleEngine.load(str(folder), device="cpu", dtype="fp32")
    content, style = (engine.invert(image, InversionSettings(steps=3, size=64)) for image in (astronaut, painted))
    settings = apply_preset(engine.model.preset, FusionSettings()).replace(strength=0.8)
    assert np.array_equal(np.asarray(picture), np.asarray(engine.stylize(content, style, settings).image))
    calls = through.engine.model.unet_calls
    through(astronaut, painted, steps=3, size=64, strength=0.3)
    assert through.engine.model.unet_calls == calls + 3  # nothing is inverted again
    with pytest.raises(SettingsError, match="strength"):
        through(astronaut, painted, steps=3, size=64, strength=7)
