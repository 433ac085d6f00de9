"""Settings into a PNG are settings out of it; anything else is a clear error."""

from __future__ import annotations

import io
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

import magicstyle_core
from magicstyle_core.errors import MetadataError
from magicstyle_core.metadata import SavedSettings, read_png, write_png
from magicstyle_core.settings import PRESETS, FusionSettings, InversionSettings, apply_preset

OTHER: dict[str, Any] = dict(
    strength=0.123456789,
    structure=1 / 3,
    colour=0.1,
    texture=0.45,
    detail=0.4,
    temperature=2.5,
    fusion="joint",
    layers=("up_blocks.2", "down_blocks.0.attentions.1"),
    start=0.25,
    end=0.75,
    steps=7,
    outside=0.05,
    seed=2**40,
)
PLAIN = dict(
    version="0.1.0", model="mini", settings={"strength": 0.5}, inversion={"steps": 8}, extra={"preset": "Gentle"}
)


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8))


def written(settings: FusionSettings | None, inversion: InversionSettings | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    write_png(
        options.pop("image", picture()),
        buffer,
        settings=settings,
        inversion=inversion or InversionSettings(),
        model="mini",
        **options,
    )
    return buffer.getvalue()


def png_with(text: str) -> bytes:
    info, buffer = PngInfo(), io.BytesIO()
    info.add_text("magicstyle", text)
    picture().save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def test_the_samples_differ_from_the_defaults_in_every_field() -> None:
    assert set(OTHER) == {field.name for field in fields(FusionSettings)}
    assert all(getattr(FusionSettings(), name) != value for name, value in OTHER.items())


@pytest.mark.parametrize("name", OTHER)
def test_every_field_comes_back(name: str) -> None:
    settings = FusionSettings(**{name: OTHER[name]})
    assert read_png(written(settings)).settings == settings


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_come_back(preset: str) -> None:
    settings = apply_preset(preset, FusionSettings(**OTHER))
    assert read_png(written(settings)).settings == settings


def test_everything_comes_back_together(tmp_path: Path) -> None:
    extra = {"styles": [["Wörter 水", 0.5]], "draft": False}
    expected = SavedSettings(
        version=magicstyle_core.__version__,
        model="mini",
        settings=FusionSettings(**OTHER),
        inversion=InversionSettings(steps=9, size=320),
        extra=extra,
    )
    data = written(expected.settings, expected.inversion, extra=extra)
    path = tmp_path / "result.png"
    write_png(picture(), path, settings=expected.settings, inversion=expected.inversion, model="mini", extra=extra)
    for source in (data, io.BytesIO(data), path, str(path)):
        assert read_png(source) == expected


def test_pixels_are_written_unchanged_and_signed() -> None:
    image = Image.open(io.BytesIO(written(FusionSettings())))
    assert np.array_equal(np.asarray(image), np.asarray(picture()))
    assert image.info["Software"] == f"MagicStyle {magicstyle_core.__version__}"


def test_without_settings_nothing_but_pixels_is_written() -> None:
    image = picture()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.info = {"icc_profile": profile, "dpi": (72, 72), "exif": b"Exif\0\0secret"}
    data = written(None, image=image, extra={"name": "secret"})
    kinds, position = [], 8
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        kinds.append(data[position + 4 : position + 8])
        position += 12 + length
    assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}
    assert image.info["icc_profile"] == profile
    with pytest.raises(MetadataError, match="carries no settings"):
        read_png(data)


def test_missing_settings_take_their_defaults() -> None:
    saved = read_png(png_with(json.dumps(PLAIN)))
    assert saved.settings == FusionSettings(strength=0.5)
    assert saved.inversion == InversionSettings(steps=8)
    assert saved.extra == {"preset": "Gentle"}


@pytest.mark.parametrize("place", ["settings", "inversion", None])
def test_settings_of_a_newer_version_are_named(place: str | None) -> None:
    values = json.loads(json.dumps(PLAIN | {"version": "9.9"}))
    (values[place] if place else values)["sparkle"] = 1
    with pytest.raises(MetadataError, match=r"MagicStyle 9\.9 .* unknown to .*: sparkle; update MagicStyle"):
        read_png(png_with(json.dumps(values)))


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"strength": 7}},
        {"settings": {"strength": "high"}},
        {"settings": {"strength": float("nan")}},
        {"settings": {"layers": 5}},
        {"settings": {"layers": []}},
        {"settings": {"fusion": ["blend"]}},
        {"settings": None},
        {"settings": [1]},
        {"inversion": {"steps": 1.5}},
        {"inversion": None},
        {"model": None},
        {"version": 1},
    ],
)
def test_impossible_values_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MetadataError, match="The settings in the picture"):
        read_png(png_with(json.dumps(PLAIN | change)))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", "[" * 100_000])
def test_damaged_text_is_refused(text: str) -> None:
    with pytest.raises(MetadataError, match="The settings in the picture"):
        read_png(png_with(text))


def test_files_that_are_no_png(tmp_path: Path) -> None:
    jpeg = io.BytesIO()
    picture().save(jpeg, "JPEG")
    for source in (b"", b"hello", jpeg.getvalue(), written(FusionSettings())[:20], tmp_path / "gone.png"):
        with pytest.raises(MetadataError, match="cannot be read as a PNG"):
            read_png(source)


def test_a_saved_record_cannot_be_changed() -> None:
    saved = read_png(written(FusionSettings()))
    with pytest.raises(AttributeError):
        saved.model = "other"  # type: ignore[misc]
    assert replace(saved, model="other").model == "other"
