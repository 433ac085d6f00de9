"""Errors in the visitor's language: every sentence that the core raises has a German one, and the page says it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Browser, expect

import magicstyle_core
from magicstyle_core.enlarge import open_larger
from magicstyle_core.errors import MagicStyleError
from magicstyle_core.grid import AXES, Grid, parse_values
from magicstyle_core.images import NO_PICTURES, open_picture
from magicstyle_core.layers import Layer, choose_layers
from magicstyle_core.metadata import StyleUse, read_png
from magicstyle_core.regions import fit_mask
from magicstyle_core.serving.jobs import Aim
from magicstyle_core.settings import FusionSettings, apply_preset, from_version_01
from magicstyle_core.ui.errors import GERMAN, in_language
from tests.browsing import expect_caption, number, open_page, tab, upload
from tests.flat import FlatPlace

PACKAGE = Path(magicstyle_core.__file__).parent
# Whatever a visitor's pictures and settings go through. The command line and the loading of models speak English, to
# whoever started them, and ui/api.py to programs.
RAISING = [
    "images", "metadata", "plan", "regions", "enlarge", "settings", "guard", "grid", "layers", "lens", "model", "hooks",
    "serving/jobs", "serving/desk", "serving/cluster", "ui/grid",
]  # fmt: skip
LOCAL = ("kind", "made")  # variables that hold a part of a sentence
BLANK = re.compile(r"{\w*}")


def readings(node: ast.expr | None, names: dict[str, list[ast.expr]]) -> list[str]:
    """What a string of the source may read like, with {} for what is filled in."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.IfExp():
            return readings(node.body, names) + readings(node.orelse, names)
        case ast.Name(id="verdict"):
            return list(NO_PICTURES.values())
        case ast.Name(id=name) if name.isupper() or name in LOCAL:
            return [text for value in names.get(name, []) for text in readings(value, names)]
        case ast.FormattedValue():
            return readings(node.value, names) or ["{}"]
        case ast.JoinedStr():
            whole = [""]
            for part in node.values:
                whole = [text + more for text in whole for more in readings(part, names)]
            return whole
    return []


def raised_in(path: Path) -> set[str]:
    """The sentences of a module's errors."""
    tree, names, found = ast.parse(path.read_text()), dict[str, list[ast.expr]](), list[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            names.setdefault(node.targets[0].id, []).append(node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and re.fullmatch(r"\w+Error|NotRendered", ast.unparse(node.func)):
            found += readings(node.args[0], names)
        if isinstance(node, ast.FunctionDef) and node.name == "_sentence":
            found += [
                text for line in ast.walk(node) if isinstance(line, ast.Return) for text in readings(line.value, names)
            ]
    # What ends without a full stop stands within another sentence, and a flag is for the command line.
    return {text for text in found if text.endswith((".", ": {}")) and not text.startswith("--")}


RAISED = sorted({text for name in RAISING for text in raised_in(PACKAGE / f"{name}.py")})


def test_every_sentence_that_is_raised_has_a_german_one() -> None:
    assert len(RAISED) > 55
    assert [text for text in RAISED if text not in {BLANK.sub("{}", key) for key in GERMAN}] == []


@pytest.mark.parametrize("key", GERMAN)
def test_every_sentence_is_found_with_its_values(key: str) -> None:
    names = BLANK.findall(key)
    assert set(names) - set(BLANK.findall(GERMAN[key])) <= {"{error}"}
    values = {name.strip("{}"): f"§{n}§" for n, name in enumerate(names)}
    assert in_language("de", key.format(**values), {}) == GERMAN[key].format(**values)
    assert in_language("en", key.format(**values), {}) == key.format(**values)


BEGINNINGS = [
    b"%PDF",
    b"<svg",
    b"8BPS",
    b"\xff\n",
    b"FOVb",
    b"OggS",
    b"Rar!",
    b"",
    b"words",
    b"\0\1",
    b"\x89PNG\r\n\x1a\n\0",
]
ENGLISH = re.compile(
    r"\b(the|is|are|got|expected|give|choose|number|whole|such|or|from|list|with|cannot|picture)\b", re.I
)


def open_file(content: bytes, folder: Path) -> None:
    (folder / "datei.bin").write_bytes(content)
    open_picture(folder / "datei.bin", 64, 8)


def read_version(version: str, settings: dict[str, Any], folder: Path) -> None:
    text = PngInfo()
    text.add_text("magicstyle", json.dumps({"version": version, "model": "", "settings": settings, "inversion": {}}))
    Image.new("RGB", (64, 64)).save(folder / "alt.png", pnginfo=text)
    read_png(folder / "alt.png")


@pytest.mark.parametrize(
    "mistake",
    [
        *(partial(open_file, content) for content in BEGINNINGS),
        *(lambda _, size=size: open_picture(Image.new("L", size), 64, 8) for size in ((8, 8), (16, 200), (9000, 9000))),
        lambda folder: open_picture(folder / "nichts.png", 64, 8),
        lambda folder: read_png(folder / "nichts.png"),
        partial(read_version, "9.0", {"wildness": 1}),
        partial(read_version, "0.2.0", {"strength": 9}),
        partial(read_version, "0.2.0", {"start": 0.9, "end": 0.1}),
        lambda _: StyleUse(mask="?").mask_image,
        lambda _: fit_mask(Image.new("L", (64, 64)), (64, 128)),
        lambda folder: open_larger(folder / "nichts.png", 4, 2048, 8),
        lambda _: apply_preset("Loud", FusionSettings()),
        *(lambda _, name=name: parse_values(name, "?" if name != "layers" else "+") for name in AXES),
        *(lambda _, name=name: parse_values(name, "") for name in AXES),
        lambda _: parse_values("strength", "0-1 [99]"),
        lambda _: Grid("strength", (1.0,), "strength", (1.0,)),
        lambda _: Grid("strength", (1.0,) * 65),
        lambda _: choose_layers([Layer("up.0", "up 0", 0, "fine")], ["nose"]),
        lambda _: Aim((2.0, 0.0)),
        lambda _: Aim((0.0, 0.0), "nose"),
        lambda _: Aim((0.0, 0.0), way_down=2),
    ],
)
def test_what_goes_wrong_is_said_in_german(mistake: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(MagicStyleError) as raised:
        mistake(tmp_path)
    assert not ENGLISH.search(in_language("de", str(raised.value), {})), in_language("de", str(raised.value), {})


def test_what_an_old_file_lost_is_said_in_german() -> None:
    _, gone = from_version_01({"texture": 0.5})
    both = f"{gone} Its region was not stored; choose it again."
    assert in_language("de", both, {}).startswith("Textur (0.5) gibt es seit 0.1 nicht mehr")
    assert in_language("de", both, {}).endswith(
        "anders aussehen. Ihr Bereich wurde nicht gespeichert; wähle ihn noch einmal."
    )


@pytest.mark.browser
def test_the_page_says_it_in_german(
    browser: Browser, url: str, place: FlatPlace, photograph: Path, style: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "klein.png")
    Image.new("L", (128, 128)).save(tmp_path / "schwarz.png")
    (tmp_path / "kaputt.png").write_bytes(b"\0kein Bild")
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="de-DE")
    page = open_page(context, f"{url}?strength=9")
    expect(page.locator("#controls-note [role=alert]")).to_have_text(
        "Stilstärke: 9.0 geht nicht; erwartet wird eine Zahl von 0 bis 1.5."
    )
    upload(page, "content", tmp_path / "klein.png")
    said = "Das Bild ist 8 × 8 Bildpunkte groß; nimm eines von mindestens 16 × 16."
    expect(page.locator("#content-note [role=alert]")).to_have_text(said)
    expect(page.locator("#status [role=alert]")).to_have_text(said)
    upload(page, "content", photograph)
    upload(page, "style-1", tmp_path / "kaputt.png")
    expect(page.locator("#style-1-note [role=alert]")).to_contain_text("ist kein Bild, das sich lesen lässt")
    upload(page, "style-1", style)
    expect_caption(page, "Bild 1")
    tab(page, "Einstellungen")
    upload(page, "settings-file", photograph)
    expect(page.locator("#settings-note [role=alert]")).to_contain_text("Das Bild trägt keine Einstellungen")
    tab(page, "Raster")
    page.get_by_label("Werte waagerecht").fill("viel")
    expect(page.locator("#grid-plan [role=alert]")).to_contain_text("Stilstärke: 'viel' geht nicht; erwartet wird")
    tab(page, "Stile")
    upload(page, "style-mask-file", tmp_path / "schwarz.png")
    expect(page.locator("#style-mask-note [role=alert]")).to_contain_text("Die Maske ist überall schwarz")
    tab(page, "Mehr")
    for name, value in (("start", "0.9"), ("end", "0.1")):
        number(page, name).fill(value)
        number(page, name).press("Tab")
    expect(page.locator("#status [role=alert]")).to_have_text(
        "Anfang (0.9) liegt nach Ende (0.1); mache den Anfang kleiner."
    )
    context.close()
