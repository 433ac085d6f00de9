"""MagicStyle: stylize a portrait after a reference image, without training, on a diffusion model.

Everything here is loaded at its first use, so that settings and pictures need no torch.
"""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from magicstyle_core.bank import Inversion
    from magicstyle_core.engine import Frame, Progress, Result, StyleEngine
    from magicstyle_core.errors import ImageError, MagicStyleError, MetadataError, ModelError, SettingsError
    from magicstyle_core.images import Picture
    from magicstyle_core.settings import PRESETS, FusionSettings, InversionSettings

__version__ = "0.2.0"

# The embedded model, the examples and the page's style: within the package when installed, beside it in a checkout.
_PACKAGE = Path(__file__).resolve().parent
ASSETS = next(folder for folder in (_PACKAGE / "assets", _PACKAGE.parent / "assets") if folder.is_dir())

__all__ = [
    "ASSETS",
    "PRESETS",
    "Frame",
    "FusionSettings",
    "ImageError",
    "Inversion",
    "InversionSettings",
    "MagicStyleError",
    "MetadataError",
    "ModelError",
    "Picture",
    "Progress",
    "Result",
    "SettingsError",
    "StyleEngine",
]

_HOMES = {
    "bank": ("Inversion",),
    "engine": ("Frame", "Progress", "Result", "StyleEngine"),
    "errors": ("ImageError", "MagicStyleError", "MetadataError", "ModelError", "SettingsError"),
    "images": ("Picture",),
    "settings": ("PRESETS", "FusionSettings", "InversionSettings"),
}

for _name in (
    "xformers",
    "transformers.utils.import_utils",
):  # diffusers imports both; they miss what nobody needs here
    logging.getLogger(_name).setLevel(logging.ERROR)


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
