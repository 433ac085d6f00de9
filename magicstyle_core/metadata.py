"""A picture remembers how it was made: its recipe travels inside its PNG file.

JPEG and WebP files carry none: they do not give their pixels back, and are what people send to others.
"""

from __future__ import annotations

import base64
import importlib.metadata
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import magicstyle_core
from magicstyle_core.errors import MetadataError, SettingsError
from magicstyle_core.settings import TABLE, FusionSettings, InversionSettings, from_version_01

if TYPE_CHECKING:
    from magicstyle_core.bank import Inversion
    from magicstyle_core.engine import StyleEngine

CHUNK = "magicstyle"  # keyword of the PNG text chunk that holds the JSON
MAGIC = b"\x89PNG"
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
QUALITY = 95  # of lossy files: Pillow's documentation advises against more
PNG_LEVEL = 1  # of compression: three times as fast as 6, files 0 to 9 % larger, measured on six pictures of 256 to 384
LARGEST_SIDE = int(TABLE["size"].high or 0)  # of a mask, which is as large as its picture


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class StyleUse(_Frozen):
    """One style picture of a render."""

    digest: str = ""
    weight: float = Field(default=1.0, gt=0)
    mask: str = ""  # where it was looked at, a PNG in base64; "" = everywhere

    @property
    def mask_image(self) -> Image.Image | None:
        """Mode "L", white where it was looked at. Raises MetadataError when it cannot be read."""
        return _decoded(self.mask)


class Recipe(_Frozen):
    """Everything that makes a picture again. What a file does not say is empty."""

    version: str  # of MagicStyle
    model: str
    settings: FusionSettings
    inversion: InversionSettings  # steps and size as they were used
    content: str = ""  # digest of the photograph as the model took it
    styles: tuple[StyleUse, ...] = ()
    region: str = ""  # where the style went, in the words of the page
    mask: str = ""  # the region as a PNG in base64
    upsample: int = Field(default=1, ge=1, le=4)  # how many times as large as it was rendered
    model_digest: str = ""  # `Model.fingerprint`
    options: dict[str, str] = {}  # what else the model was loaded with: LoRA, prompt, revision, variant
    # At other values of these the picture may differ by one grey level.
    device: str = ""
    dtype: str = ""
    tier: str = ""  # where stored features lay
    bank_bits: int = 0  # of a stored feature
    threads: int = 0
    torch: str = ""
    diffusers: str = ""
    gone: str = Field(default="", exclude=True)  # of a file that was read: what of it this version cannot make again

    @property
    def mask_image(self) -> Image.Image | None:
        """The region, mode "L", white where the style goes. Raises MetadataError when it cannot be read."""
        return _decoded(self.mask)


def _decoded(mask: str) -> Image.Image | None:
    if not mask:
        return None
    try:
        with Image.open(io.BytesIO(base64.b64decode(mask, validate=True)), formats=["PNG"]) as picture:
            if max(picture.size) > LARGEST_SIDE:
                raise ValueError(f"{picture.width} × {picture.height} pixels")
            return picture.convert("L")
    except Exception as error:  # Pillow raises many different kinds on damaged files
        raise MetadataError(f"The region in the picture is damaged ({error}); give the original file.") from error


def encode_mask(mask: Image.Image | None) -> str:
    """A mask of mode "L" as `Recipe.mask` has it."""
    if mask is None:
        return ""
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def write_png(image: Image.Image, target: str | Path | BinaryIO, recipe: Recipe | None) -> None:
    """Writes a picture and how it was made.

    Args:
        image: the picture; nothing that it carries besides its pixels is written.
        target: a path or an open binary file.
        recipe: None leaves out every word about how the picture was made.
    """
    pixels = image.copy()
    pixels.info = {}
    text = PngInfo()
    if recipe is not None:
        text.add_text(CHUNK, recipe.model_dump_json())
        text.add_text("Software", f"MagicStyle {recipe.version}")
    pixels.save(target, "PNG", pnginfo=text, compress_level=PNG_LEVEL)


def write_picture(image: Image.Image, path: Path, recipe: Recipe | None) -> None:
    """Writes a picture in the format that its name ends with, one of FORMATS; the recipe into a PNG alone."""
    kind = FORMATS[path.suffix.lower()]
    if kind == "PNG":
        write_png(image, path, recipe)
    else:
        (image.convert("RGB") if kind == "JPEG" else image).save(path, kind, quality=QUALITY)


def read_png(source: str | Path | bytes | BinaryIO) -> Recipe:
    """What `write_png` left in a PNG, also that of version 0.1.

    Raises:
        MetadataError: the file is no PNG, carries no settings, or settings that this version cannot read.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=["PNG"]) as image:
            text = image.info.get(CHUNK)
    except Exception as error:  # Pillow raises many different kinds on damaged files
        raise MetadataError("The file cannot be read as a PNG; give one that MagicStyle wrote.") from error
    if text is None:
        raise MetadataError("The picture carries no settings; give a PNG as MagicStyle wrote it, not a converted copy.")
    return _recipe(_object(text, "picture"), "picture")


def read_settings(path: Path) -> Recipe:
    """The recipe in a PNG made here or in a JSON file, which may also hold nothing but settings by their names.

    Raises:
        MetadataError: the file cannot be read, or says what this version does not know.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MetadataError(f"The file {str(path)!r} cannot be read ({error.strerror}); check the path.") from error
    if data.startswith(MAGIC):
        return read_png(data)
    values = _object(data, "file")
    if "settings" not in values:
        inversion = {name: values.pop(name) for name in InversionSettings.model_fields if name in values}
        values = {"version": "", "model": "", "settings": values, "inversion": inversion}
    return _recipe(values, "file")


def _object(text: str | bytes, place: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise MetadataError(f"The settings in the {place} are damaged ({error}); give the original file.") from error
    if not isinstance(values, dict):
        raise MetadataError(f"The settings in the {place} are no JSON object; give the original file.")
    return values


def _recipe(values: Mapping[str, Any], place: str) -> Recipe:
    """A recipe from JSON values, which may come from anyone and from a newer version."""
    version = values.get("version")
    settings, inversion = values.get("settings"), values.get("inversion")
    if not isinstance(version, str) or not isinstance(settings, dict) or not isinstance(inversion, dict):
        raise MetadataError(f"The settings in the {place} are incomplete; give the original file.")
    gone = ""
    old = version.startswith("0.1.")
    if old or "texture" in settings:
        settings, gone = from_version_01(settings)
    if old:
        extra = values.get("extra")
        values = {name: value for name, value in values.items() if name != "extra"}
        if isinstance(extra, dict) and isinstance(extra.get("weights"), list):
            values["styles"] = [{"weight": weight} for weight in extra["weights"]]
        if isinstance(extra, dict) and extra.get("region", "Everywhere") != "Everywhere":
            values["region"] = str(extra["region"]).lower()
            gone = f"{gone} Its region was not stored; choose it again.".strip()
    unknown = [
        *(set(values) - set(Recipe.model_fields)),
        *(set(settings) - set(FusionSettings.model_fields)),
        *(set(inversion) - set(InversionSettings.model_fields)),
    ]
    if unknown:
        made = f"was made with MagicStyle {version} and has" if version else "has"
        raise MetadataError(
            f"The {place} {made} settings unknown to {magicstyle_core.__version__}: {', '.join(sorted(unknown))}; "
            "update MagicStyle, or take them out."
        )
    try:
        return Recipe.model_validate({**values, "settings": settings, "inversion": inversion, "gone": gone})
    except SettingsError as error:
        raise MetadataError(f"The settings in the {place} cannot be used: {error}") from error
    except ValidationError as error:
        wrong = error.errors()[0]
        name = ".".join(map(str, wrong["loc"]))
        raise MetadataError(f"The settings in the {place} cannot be used: {name}: {wrong['msg']}.") from error


def circumstances(engine: StyleEngine, *inversions: Inversion) -> dict[str, Any]:
    """Fields of a Recipe: the weights behind a picture, and what may change it by one grey level."""
    import torch

    banks = [engine.store.bank(inversion.session, inversion.key) for inversion in inversions]
    return {
        "model_digest": engine.model.fingerprint,
        "options": engine.model.options,
        "device": str(engine.model.device),
        "dtype": str(engine.model.dtype).removeprefix("torch."),
        "tier": "+".join(sorted({"computed" if bank is None else bank.device.type for bank in banks})),
        "bank_bits": 8 * engine.bank_dtype.itemsize,
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),  # a plain text, also where torch is not
        "diffusers": importlib.metadata.version("diffusers"),
    }
