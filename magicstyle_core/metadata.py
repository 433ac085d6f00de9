"""A result remembers how it was made: every setting travels inside its PNG file."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from PIL import Image
from PIL.PngImagePlugin import PngInfo

import magicstyle_core
from magicstyle_core.errors import MetadataError, SettingsError
from magicstyle_core.settings import FusionSettings, InversionSettings

CHUNK = "magicstyle"  # keyword of the PNG text chunk that holds the JSON

Kind = TypeVar("Kind")


@dataclass(frozen=True, kw_only=True)
class SavedSettings:
    """What a PNG says about how it was made."""

    version: str  # of MagicStyle
    model: str
    settings: FusionSettings
    inversion: InversionSettings
    extra: dict[str, Any] = field(default_factory=dict)


def write_png(
    image: Image.Image,
    target: str | Path | BinaryIO,
    *,
    settings: FusionSettings | None,
    inversion: InversionSettings,
    model: str,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Writes a picture and how it was made.

    Args:
        image: the picture; nothing that it carries besides its pixels is written.
        target: a path or an open binary file.
        settings: None leaves out every word about how the picture was made.
        inversion: settings of the inversions behind it.
        model: name of the model.
        extra: whatever else JSON can hold.
    """
    pixels = image.copy()
    pixels.info = {}
    if settings is None:
        pixels.save(target, "PNG")
        return
    saved = SavedSettings(
        version=magicstyle_core.__version__,
        model=model,
        settings=settings,
        inversion=inversion,
        extra=dict(extra or {}),
    )
    text = PngInfo()
    text.add_text(CHUNK, json.dumps(asdict(saved)))
    text.add_text("Software", f"MagicStyle {saved.version}")
    pixels.save(target, "PNG", pnginfo=text)


def read_png(source: str | Path | bytes | BinaryIO) -> SavedSettings:
    """The settings that `write_png` left in a PNG.

    Args:
        source: a path, the bytes of a file, or an open binary file.

    Raises:
        MetadataError: the file is no PNG, carries no settings, or settings that this version cannot read.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=["PNG"]) as image:
            text = image.info.get(CHUNK)
    except Exception as error:  # Pillow raises many different kinds on damaged files
        raise MetadataError(f"The file cannot be read as a PNG ({error}); give one that MagicStyle wrote.") from error
    if text is None:
        raise MetadataError("The picture carries no settings; give a PNG as MagicStyle wrote it, not a converted copy.")
    try:
        values = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise MetadataError(f"The settings in the picture are damaged ({error}); give the original file.") from error
    version = values.get("version") if isinstance(values, dict) else None
    if not isinstance(version, str) or not isinstance(values.get("model"), str):
        raise MetadataError("The settings in the picture name no version or no model; give the original file.")
    parts = {
        "settings": _build(FusionSettings, values.get("settings"), version),
        "inversion": _build(InversionSettings, values.get("inversion"), version),
    }
    return _build(SavedSettings, values | parts, version)


def _build(kind: type[Kind], values: Any, version: str) -> Kind:
    """A dataclass from JSON values, which may come from anyone and from a newer version."""
    if not isinstance(values, dict):
        raise MetadataError("The settings in the picture are incomplete; give the original file.")
    unknown = sorted(set(values) - {item.name for item in fields(kind)})  # type: ignore[arg-type]
    if unknown:
        raise MetadataError(
            f"The picture was made with MagicStyle {version} and has settings unknown to "
            f"{magicstyle_core.__version__}: {', '.join(unknown)}; update MagicStyle to use them."
        )
    try:
        return kind(**values)
    except (SettingsError, TypeError) as error:
        raise MetadataError(f"The settings in the picture cannot be used: {error}") from error
