"""Every layout either works, with strength 0 exact, or is refused at load in one sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from magicstyle_core import FusionSettings, InversionSettings, ModelError, StyleEngine
from tests.tiny_layouts import LAYOUTS, Layout, write_sd, write_xl


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("layouts")
    write_sd(folder / "sd")
    write_xl(folder / "xl")
    return {base: folder / base for base in ("sd", "xl")}


def noise_picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8))


@pytest.mark.parametrize("layout", LAYOUTS, ids=[layout.name for layout in LAYOUTS])
def test_a_layout_works_or_is_refused_in_one_sentence(layout: Layout, bases: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bases[layout.base], folder)
    layout.change(folder)
    if layout.refusal is not None:
        with pytest.raises(ModelError, match=layout.refusal) as refused:
            StyleEngine.load(str(folder), device="cpu", dtype="fp32")
        assert "\n" not in str(refused.value)
        return
    engine = StyleEngine.load(str(folder), device="cpu", dtype="fp32")
    assert engine.model.unet_calls == 0
    settings = InversionSettings(steps=3, size=64)
    content, style = (engine.invert(noise_picture(seed), settings) for seed in (0, 1))
    still = engine.stylize(content, style, FusionSettings(strength=0, detail=0, layers=("all",)))
    assert still.image.tobytes() == engine.decode(content).tobytes()
    styled = engine.stylize(content, style, FusionSettings(detail=0, layers=("all",)))
    assert styled.image.tobytes() != still.image.tobytes()


def test_there_are_enough_of_them() -> None:
    assert len(LAYOUTS) >= 40
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS)
