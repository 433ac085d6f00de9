"""The page on models as people have them: one that is not ours, and some that cannot be used."""

from __future__ import annotations

import gc
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from PIL import Image

import app
from magicstyle_core import StyleEngine
from magicstyle_core.__main__ import main
from magicstyle_core.layers import choose_layers
from magicstyle_core.serving.places import Here
from tests.tiny_layouts import LAYOUTS, Layout, change_json, write_sd, write_xl

# Gradio leaves sockets and event loops to the garbage collector, and asks pandas for what it is about to drop.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::pandas.errors.Pandas4Warning",
)


def test_stable_diffusion_xl_draws_on_the_page_with_the_defaults(tmp_path: Path) -> None:
    write_xl(tmp_path / "xl")
    change_json("unet/config.json", sample_size=32)(tmp_path / "xl")  # 64 pixels, the least that can be asked for
    for name, seed in (("photo.png", 0), ("style.png", 1)):
        pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    demo = app.build_demo(StyleEngine.load(str(tmp_path / "xl"), device="cpu", dtype="fp32"))
    client = Client(app.launch(demo), verbose=False, analytics_enabled=False)
    pair = {"content": handle_file(tmp_path / "photo.png"), "style": handle_file(tmp_path / "style.png")}
    path, facts = client.predict(**pair, api_name="/stylize")
    with Image.open(path) as picture:
        assert picture.size == (64, 64)
    assert facts["unet_calls"] == 20
    client.close()
    demo.close()
    gc.collect()


REFUSED = [layout for layout in LAYOUTS if layout.refusal and layout.base == "sd"]


@pytest.mark.parametrize("layout", REFUSED[::6], ids=[layout.name for layout in REFUSED[::6]])
def test_the_page_says_why_it_does_not_start(
    layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sd(tmp_path / "model")
    layout.change(tmp_path / "model")
    capsys.readouterr()
    assert main(["serve", "--model", str(tmp_path / "model")]) == 1
    said = capsys.readouterr().err
    assert layout.refusal
    assert re.search(layout.refusal, said)
    assert said.count("\n") == 1


def test_layers_are_chosen_by_block(tmp_path: Path) -> None:
    """Ten layers of one attention block, as Stable Diffusion XL has them, are one box."""
    write_xl(tmp_path / "xl")
    engine = StyleEngine.load(str(tmp_path / "xl"), device="cpu", dtype="fp32")
    place = Here(engine)
    assert [layer.label for layer in place.facts.layers] == ["down 0.0", "mid 0", "up 1.0", "up 1.1"]
    assert [layer.label for layer in engine.layers()] == ["down 0.0", "mid 0", "mid 0.1", "up 1.0", "up 1.1"]
    assert place.expand(["coarse"]) == ["mid_block.attentions.0"]
    assert choose_layers(engine.layers(), place.expand(["all"])) == engine.layers()


def test_the_flags_of_the_model_reach_the_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_sd(tmp_path / "model")
    flags = ["--dtype", "bf16", "--prompt", "a face", "--steps", "7", "--size", "64", "--budget", "0.5"]
    built = []

    def build(engine: StyleEngine, grace_seconds: float) -> None:
        built.append(engine)
        raise SystemExit("built")

    monkeypatch.setattr("magicstyle_core.app.build_demo", build)
    with pytest.raises(SystemExit, match="built"):
        main(["serve", "--model", str(tmp_path / "model"), *flags])
    (engine,) = built
    assert (engine.model.dtype, engine.model.options) == (torch.bfloat16, {"prompt": "a face"})
    assert (engine.model.steps, engine.model.size) == (7, 64)
