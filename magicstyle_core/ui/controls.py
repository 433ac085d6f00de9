"""The controls that stand for FusionSettings: their ranges, their one line of direction, and the way there and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from magicstyle_core import FusionSettings
from magicstyle_core.settings import PRESETS, apply_preset
from magicstyle_core.ui.layers import LayerChooser

MAX_PAGE_STEPS = 100
CUSTOM = "Custom"


@dataclass(frozen=True)
class SliderSpec:
    """A slider for one number of FusionSettings."""

    name: str
    label: str
    low: float
    high: float
    step: float
    info: str


MAIN_SLIDERS = (
    SliderSpec("strength", "Style strength", 0, 1.5, 0.05, "Higher: more of the style, less of the person."),
    SliderSpec("structure", "Structure", 0, 1, 0.05, "Higher: shapes stay closer to the photograph."),
    SliderSpec("colour", "Colour", 0, 1, 0.05, "Higher: colours come closer to the style's."),
)
ADVANCED_SLIDERS = (
    SliderSpec("detail", "Detail", 0, 1, 0.05, "Higher: fine lines of both pictures come back, and outlines."),
    SliderSpec("temperature", "Sharpness", 0.5, 3, 0.1, "Higher: fewer, better matching patches of the style."),
    SliderSpec("start", "Start", 0, 1, 0.05, "Later: the style leaves large shapes and colours alone."),
    SliderSpec("end", "End", 0, 1, 0.05, "Earlier: the style leaves fine detail alone."),
)
NAMES = (
    "strength", "structure", "colour", "detail", "temperature", "start", "end", "fusion", "layers", "seed",
    "outside",
)  # fmt: skip


def to_settings(values: Mapping[str, Any], chooser: LayerChooser) -> FusionSettings:
    """Settings from the controls' values by name. Raises SettingsError."""
    return FusionSettings.from_dict(
        {
            **values,
            "layers": chooser.compress(values["layers"]),
            "seed": int(values["seed"]) or None,
        }
    )


def to_values(settings: FusionSettings, chooser: LayerChooser) -> dict[str, Any]:
    """The controls' values by name for settings. Raises SettingsError when the model lacks one of the layers."""
    values = settings.model_dump()
    values["layers"] = chooser.expand(settings.layers)
    values["seed"] = settings.seed or 0
    return {name: values[name] for name in NAMES}


def preset_of(settings: FusionSettings, chooser: LayerChooser) -> str:
    """The preset that these settings come from, or CUSTOM."""
    values = to_values(settings, chooser)
    for name in PRESETS:
        if to_values(apply_preset(name, settings), chooser) == values:
            return name
    return CUSTOM
