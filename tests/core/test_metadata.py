"""A recipe into a PNG is a recipe out of it; anything else is a clear error."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from pydantic import ValidationError

import magicstyle_core
from magicstyle_core.errors import MetadataError
from magicstyle_core.metadata import LARGEST_SIDE, Recipe, StyleUse, encode_mask, read_png, read_settings, write_png
from magicstyle_core.settings import FIXED_01, PRESETS, FusionSettings, InversionSettings, apply_preset

OTHER: dict[str, Any] = dict(
    strength=0.123456789,
    faces=0.6,
    structure=1 / 3,
    colour=0.1,
    detail=0.4,
    temperature=2.5,
    balance=0.5,
    neighbours=0.3,
    strokes=0.7,
    start=0.25,
    end=0.75,
    residual=0.45,
    palette="adain",
    fusion="joint",
    layers=("up_blocks.2", "down_blocks.0.attentions.1"),
    render_steps=7,
    seed=0,
    outside=0.05,
)
PLAIN: dict[str, Any] = dict(version="0.2.0", model="mini", settings={"strength": 0.5}, inversion={"steps": 8})
MASK = Image.fromarray(np.random.default_rng(1).integers(0, 256, (24, 32), dtype=np.uint8))
FULL = Recipe(
    version=magicstyle_core.__version__,
    model="Wörter 水",
    settings=FusionSettings(**OTHER),
    inversion=InversionSettings(steps=9, size=320),
    content="ab12",
    styles=(StyleUse(digest="cd34", weight=1), StyleUse(digest="ef56", weight=3)),
    region="face",
    mask=encode_mask(MASK),
    upsample=2,
    model_digest="0123",
    options={"lora": "brush.safetensors"},
    device="cuda",
    dtype="float16",
    tier="host",
    bank_bits=8,
    threads=4,
    torch="2.13.0",
    diffusers="0.42.1",
)


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8))


def written(recipe: Recipe | None, image: Image.Image | None = None) -> bytes:
    buffer = io.BytesIO()
    write_png(image or picture(), buffer, recipe)
    return buffer.getvalue()


def png_with(values: Any) -> bytes:
    info, buffer = PngInfo(), io.BytesIO()
    info.add_text("magicstyle", values if isinstance(values, str) else json.dumps(values))
    picture().save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def test_the_samples_differ_from_the_defaults_in_every_field() -> None:
    assert set(OTHER) == set(FusionSettings.model_fields)
    assert all(getattr(FusionSettings(), name) != value for name, value in OTHER.items())
    assert all(getattr(FULL, name) != field.default for name, field in Recipe.model_fields.items() if name != "gone")


@pytest.mark.parametrize("name", OTHER)
def test_every_setting_comes_back(name: str) -> None:
    recipe = FULL.model_copy(update={"settings": FusionSettings(**{name: OTHER[name]})})
    assert read_png(written(recipe)) == recipe


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_come_back(preset: str) -> None:
    settings = apply_preset(preset, FusionSettings(**OTHER))
    assert read_png(written(FULL.model_copy(update={"settings": settings}))).settings == settings


def test_everything_comes_back_together(tmp_path: Path) -> None:
    data, path = written(FULL), tmp_path / "result.png"
    write_png(picture(), path, FULL)
    for source in (data, io.BytesIO(data), path, str(path)):
        assert read_png(source) == FULL
    mask = read_png(path).mask_image
    assert mask is not None
    assert np.array_equal(np.asarray(mask), np.asarray(MASK))
    assert Recipe.model_validate(PLAIN).mask_image is None


def test_pixels_are_written_unchanged_and_signed() -> None:
    image = Image.open(io.BytesIO(written(FULL)))
    assert np.array_equal(np.asarray(image), np.asarray(picture()))
    assert image.info["Software"] == f"MagicStyle {magicstyle_core.__version__}"


def test_the_same_recipe_gives_the_same_bytes() -> None:
    assert written(FULL) == written(Recipe.model_validate_json(FULL.model_dump_json()))


def test_without_a_recipe_nothing_but_pixels_is_written() -> None:
    image = picture()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.info = {"icc_profile": profile, "dpi": (72, 72), "exif": b"Exif\0\0secret"}
    data = written(None, image)
    kinds, position = [], 8
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        kinds.append(data[position + 4 : position + 8])
        position += 12 + length
    assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}
    assert image.info["icc_profile"] == profile
    with pytest.raises(MetadataError, match="carries no settings"):
        read_png(data)


def test_what_is_not_said_takes_its_default() -> None:
    recipe = read_png(png_with(PLAIN))
    assert recipe == Recipe(
        version="0.2.0", model="mini", settings=FusionSettings(strength=0.5), inversion=InversionSettings(steps=8)
    )
    assert recipe.gone == ""


def test_a_picture_of_version_01_says_what_is_gone() -> None:
    old = {"strength": 0.5, "texture": 0.85, "steps": 4, "layers": ["up.texture", "colour"], "seed": 0}
    extra = {"weights": [1.0, 3.0], "region": "Face"}
    recipe = read_png(png_with(PLAIN | {"version": "0.1.0", "settings": old, "extra": extra}))
    assert recipe.settings == FusionSettings(
        strength=0.5, render_steps=4, layers=("up.fine", "middle"), seed=0, **FIXED_01
    )
    assert [style.weight for style in recipe.styles] == [1, 3]
    assert recipe.region == "face"
    assert recipe.gone == (
        "Texture (0.85) is gone since 0.1, so the picture will look different. "
        "Its region was not stored; choose it again."
    )
    assert "gone" not in json.loads(recipe.model_dump_json())
    everywhere = PLAIN | {"version": "0.1.0", "extra": {"weights": "damaged", "region": "Everywhere"}}
    assert (read_png(png_with(everywhere)).gone, read_png(png_with(everywhere)).styles) == ("", ())


@pytest.mark.parametrize("place", ["settings", "inversion", None])
def test_settings_of_a_newer_version_are_named(place: str | None) -> None:
    values = json.loads(json.dumps(PLAIN | {"version": "9.9"}))
    (values[place] if place else values)["sparkle"] = 1
    with pytest.raises(MetadataError, match=r"MagicStyle 9\.9 .* unknown to .*: sparkle; update MagicStyle"):
        read_png(png_with(values))


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"strength": 7}},
        {"settings": {"strength": "high"}},
        {"settings": {"strength": float("nan")}},
        {"settings": {"layers": 5}},
        {"settings": {"fusion": ["blend"]}},
        {"settings": {"seed": 2**53}},
        {"settings": None},
        {"settings": [1]},
        {"inversion": {"steps": 1.5}},
        {"inversion": None},
        {"model": None},
        {"version": 1},
        {"styles": [{"digest": "a", "weight": 0}]},
        {"styles": 7},
        {"threads": "many"},
    ],
)
def test_impossible_values_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MetadataError, match="The settings in the picture") as error:
        read_png(png_with(PLAIN | change))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", "[" * 100_000])
def test_damaged_text_is_refused(text: str) -> None:
    with pytest.raises(MetadataError, match="The settings in the picture"):
        read_png(png_with(text))


@pytest.mark.parametrize(
    "mask", ["no base64!", "aGVsbG8=", encode_mask(Image.new("L", (LARGEST_SIDE + 1, 1)))], ids=["text", "data", "huge"]
)
def test_a_damaged_region_is_refused(mask: str) -> None:
    recipe = read_png(png_with(PLAIN | {"mask": mask}))
    with pytest.raises(MetadataError, match="^The region in the picture is damaged"):
        _ = recipe.mask_image


def test_files_that_are_no_png(tmp_path: Path) -> None:
    jpeg = io.BytesIO()
    picture().save(jpeg, "JPEG")
    for source in (b"", b"hello", jpeg.getvalue(), written(FULL)[:20], tmp_path / "gone.png"):
        with pytest.raises(MetadataError, match="cannot be read as a PNG"):
            read_png(source)


def test_settings_come_from_a_png_a_recipe_or_plain_names(tmp_path: Path) -> None:
    png, recipe, plain = tmp_path / "a.png", tmp_path / "b.json", tmp_path / "c.json"
    write_png(picture(), png, FULL)
    recipe.write_text(FULL.model_dump_json())
    plain.write_text('{"strength": 0.5, "steps": 10, "layers": [], "texture": 0.3}')
    assert read_settings(png) == read_settings(recipe) == FULL
    saved = read_settings(plain)
    assert saved.settings == FusionSettings(strength=0.5, layers=(), **FIXED_01)
    assert saved.inversion == InversionSettings(steps=10)
    assert saved.gone.startswith("Texture (0.3) is gone")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"strength": 9}',
            r"^The settings in the file cannot be used: strength got 9, expected a number from 0",
        ),
        ('{"sparkle": 1}', r"^The file has settings unknown to .*: sparkle; update MagicStyle, or take them out"),
        ("strength: 9", "^The settings in the file are damaged"),
        ("[1]", "^The settings in the file are no JSON object"),
        (b"\xff\xd8\xff\xe0", "^The settings in the file are damaged"),
        (None, "cannot be read .*; check the path"),
    ],
)
def test_a_file_of_settings_that_cannot_be_used_is_explained(
    text: str | bytes | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "settings.json"
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(MetadataError, match=message):
        read_settings(path)


def test_a_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        FULL.model = "other"


def test_the_recipe_needs_no_torch() -> None:
    blocked = "import sys; sys.modules['torch'] = None; import magicstyle_core.metadata"
    subprocess.run([sys.executable, "-c", blocked], check=True)
