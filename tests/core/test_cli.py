from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from magicstyle_core import FusionSettings, InversionSettings
from magicstyle_core.__main__ import main
from magicstyle_core.metadata import read_png
from magicstyle_core.settings import PRESETS


@pytest.fixture
def pictures(tmp_path: Path, astronaut: Image.Image, painted: Image.Image) -> tuple[str, str]:
    paths = tmp_path / "portrait.jpg", tmp_path / "style.png"
    astronaut.save(paths[0])
    painted.save(paths[1])
    return str(paths[0]), str(paths[1])


def test_stylize_writes_a_png_with_its_settings(pictures, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out.png"
    options = [
        "--steps",
        "4",
        "--size",
        "96",
        "--preset",
        "Bold",
        "--strength",
        "0.7",
        "--layers",
        "up",
        "mid 0",
        "--json",
    ]
    assert main(["stylize", *pictures, "-o", str(out), *options]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["unet_calls"] == {"invert": 8, "render": 4}
    assert report["size"] == [96, 96]
    expected = FusionSettings(**{**PRESETS["Bold"], "strength": 0.7, "layers": ("up", "mid 0")})
    saved = read_png(out)
    assert (saved.settings, saved.inversion, saved.model) == (expected, InversionSettings(steps=4, size=96), "mini")
    assert np.asarray(Image.open(out)).std() > 10


def test_the_same_settings_give_the_same_pixels(pictures, tmp_path: Path, engine) -> None:
    out = tmp_path / "out.png"
    assert main(["stylize", *pictures, "-o", str(out), "--steps", "4", "--size", "96", "--dtype", "fp32"]) == 0
    saved = read_png(out)
    content, style = (engine.invert(path, saved.inversion, session="again") for path in pictures)
    assert engine.stylize(content, style, saved.settings).image.tobytes() == Image.open(out).tobytes()


def test_invert_and_info_report(pictures, capsys) -> None:
    assert main(["invert", pictures[0], "--steps", "3", "--size", "64", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unet_calls"] == 3
    assert main(["info", "--json"]) == 0
    assert "up 1.0" in json.loads(capsys.readouterr().out)["layers"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stylize", "missing.jpg", "missing.jpg", "-o", "out.png"], "does not exist"),
        (["stylize", "{0}", "{1}", "-o", "out.jpg"], "name it with .png"),
        (["stylize", "{0}", "{1}", "-o", "out.png", "--strength", "9"], "from 0 to 1.5"),
        (["stylize", "{0}", "{1}", "-o", "out.png", "--steps", "2", "--layers", "up 9"], "matches nothing"),
        (["info", "--model", "/no/such/folder"], "There is no folder"),
    ],
)
def test_a_mistake_is_one_clear_line(pictures, capsys, arguments: list[str], message: str, tmp_path: Path) -> None:
    given = [argument.format(*pictures).replace("out.", f"{tmp_path}/out.") for argument in arguments]
    assert main(given) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not list(tmp_path.glob("out.*"))
