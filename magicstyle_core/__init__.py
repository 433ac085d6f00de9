"""MagicStyle: stylize a portrait after a reference image, without training, on a diffusion model.

Everything here is loaded at its first use, so that settings and pictures need no torch.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from magicstyle_core.engine import Frame, Picture, Progress, StyleEngine
    from magicstyle_core.errors import ImageError, MagicStyleError, MetadataError, ModelError, SettingsError
    from magicstyle_core.features import Inversion
    from magicstyle_core.settings import PRESETS, FusionSettings, InversionSettings

__version__ = "0.2.0"

__all__ = [
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
    "SettingsError",
    "StyleEngine",
]

_HOMES = {
    "engine": ("Frame", "Picture", "Progress", "StyleEngine"),
    "errors": ("ImageError", "MagicStyleError", "MetadataError", "ModelError", "SettingsError"),
    "features": ("Inversion",),
    "settings": ("PRESETS", "FusionSettings", "InversionSettings"),
}

logging.getLogger("xformers").setLevel(logging.ERROR)  # diffusers imports it; without CUDA it warns at length


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
