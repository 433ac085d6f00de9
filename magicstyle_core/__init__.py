"""MagicStyle: stylize a portrait after a reference image, without training, on a diffusion model."""

import logging

logging.getLogger("xformers").setLevel(logging.ERROR)  # diffusers imports it; without CUDA it warns at length

from magicstyle_core.engine import Frame, Picture, Progress, StyleEngine
from magicstyle_core.errors import ImageError, MagicStyleError, MetadataError, ModelError, SettingsError
from magicstyle_core.features import Inversion
from magicstyle_core.settings import PRESETS, FusionSettings, InversionSettings

__version__ = "0.1.0"

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
