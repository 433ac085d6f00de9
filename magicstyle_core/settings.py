"""What a user can set: two frozen dataclasses and the named presets."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from magicstyle_core.errors import SettingsError

Fusion = Literal["blend", "joint"]

MAX_STRENGTH = 1.5
MAX_STEPS = 200
DRAFT_STEPS = 4


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise SettingsError(f"{name} is {value!r}; give a number from {low:g} to {high:g}.")


def _check_steps(value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 2 <= value <= MAX_STEPS:
        raise SettingsError(f"steps is {value!r}; give a whole number from 2 to {MAX_STEPS}.")


@dataclass(frozen=True, kw_only=True)
class InversionSettings:
    """How an image is inverted. Changing one of these needs a new inversion."""

    steps: int = 20  # timesteps of the inversion, one UNet call each
    size: int | None = None  # long side in pixels; None = the size the model was trained at

    def __post_init__(self) -> None:
        _check_steps(self.steps)
        if self.size is not None and (
            isinstance(self.size, bool) or not isinstance(self.size, int) or not 64 <= self.size <= 2048
        ):
            raise SettingsError(f"size is {self.size!r}; give a whole number of pixels from 64 to 2048.")


@dataclass(frozen=True, kw_only=True)
class FusionSettings:
    """How stored features are fused into a render. Changing these never needs a new inversion."""

    strength: float = 1.0  # 0 = the content image, 1 = the style's attention, above = extrapolated
    structure: float = 0.0  # share of the content's own query in the attention, 0 to 1
    colour: float = 1.0  # how far the picture takes the style's palette, 0 to 1
    texture: float = 0.85  # how far the grain takes the strength of the style's, 0 to 1
    detail: float = 1.0  # share of what the VAE loses of the images that is put back, 0 to 1
    temperature: float = 1.2  # factor on the style's attention logits; higher picks fewer, closer patches
    fusion: Fusion = "blend"  # blend: weighted sum of two attentions; joint: one attention over both key sets
    layers: tuple[str, ...] = ("up.texture",)  # "all", "up", "texture", "up.texture", a layer's label or name
    start: float = 0.0  # FFA begins at this fraction of the way down
    end: float = 1.0  # FFA ends at this fraction of the way down
    steps: int | None = None  # UNet calls; None = every stored step, fewer = a subset of them
    outside: float = 0.0  # strength outside the mask; unused without a mask
    seed: int | None = None  # None = the one deterministic result; a number draws a variation of it

    def __post_init__(self) -> None:
        _check_range("strength", self.strength, 0, MAX_STRENGTH)
        _check_range("structure", self.structure, 0, 1)
        _check_range("colour", self.colour, 0, 1)
        _check_range("texture", self.texture, 0, 1)
        _check_range("detail", self.detail, 0, 1)
        _check_range("temperature", self.temperature, 0.1, 5)
        _check_range("start", self.start, 0, 1)
        _check_range("end", self.end, 0, 1)
        _check_range("outside", self.outside, 0, MAX_STRENGTH)
        if self.start > self.end:
            raise SettingsError(f"start ({self.start:g}) lies after end ({self.end:g}); make start the smaller one.")
        if self.fusion not in get_args(Fusion):
            raise SettingsError(f"fusion is {self.fusion!r}; give 'blend' or 'joint'.")
        if not isinstance(self.layers, (list, tuple)) or not all(
            isinstance(name, str) and name for name in self.layers
        ):
            raise SettingsError(f"layers is {self.layers!r}; give a list of layer names, such as ['all'].")
        if not self.layers:
            raise SettingsError("No layer is chosen; choose at least one, or set strength to 0.")
        object.__setattr__(self, "layers", tuple(self.layers))
        if self.steps is not None:
            _check_steps(self.steps)
        if self.seed is not None and (isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0):
            raise SettingsError(f"seed is {self.seed!r}; give a whole number from 0 up, or none.")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FusionSettings:
        """Settings from plain values (JSON, PNG text); unknown names raise SettingsError."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise SettingsError(f"Unknown setting {', '.join(unknown)}; known are {', '.join(sorted(known))}.")
        return cls(**values)


PRESET_FIELDS = (
    "strength", "structure", "colour", "texture", "detail", "temperature", "fusion", "layers", "start", "end",
)  # fmt: skip


def _preset(**changes: Any) -> dict[str, Any]:
    settings = FusionSettings(**changes)
    return {name: getattr(settings, name) for name in PRESET_FIELDS}


PRESETS = {
    "Gentle": _preset(strength=0.6, structure=0.6, colour=0.6, texture=0.5),
    "Painterly": _preset(),
    "Bold": _preset(strength=1.4, texture=1.0, layers=("all",)),
    "StyleID": _preset(structure=0.75, texture=0.0, detail=0.0, temperature=1.5, layers=("up.colour", "up.texture")),
    "Colours only": _preset(structure=0.9, texture=0.0, temperature=1.0, end=0.5),
    "Texture only": _preset(colour=0.0, texture=1.0),
}


def default_preset(model: str) -> str:
    """The preset to begin with: found by evaluation for mini, taken from the literature for Stable Diffusion."""
    return "Painterly" if model == "mini" else "StyleID"


def apply_preset(name: str, settings: FusionSettings) -> FusionSettings:
    """`settings` with the numbers of the named preset; steps, the strength outside the mask and the seed stay."""
    if name not in PRESETS:
        raise SettingsError(f"There is no preset {name!r}; choose one of {', '.join(PRESETS)}.")
    return replace(settings, **PRESETS[name])
