"""Everything that can be set, in one table: checks, command line, sliders, grid axes and documentation come from it."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from magicstyle_core.errors import SettingsError

Fusion = Literal["blend", "joint"]
Palette = Literal["both", "end", "adain", "off"]
Kind = Literal["number", "whole", "choice", "layers"]
Group = Literal["main", "advanced", "region", "inversion"]

MOST_DRAFT_STEPS = 4  # of 20 steps: 28 to 41 dB from the full render, measured on the mini of 0.1
WAY_DOWN = 0.25  # where the lens looks at a render unless told otherwise: shapes are there, and style still enters
LARGEST_SEED = 2**53 - 1  # a browser keeps whole numbers exactly up to here
NONE = "none"  # in text: no number for an optional one, no layer for the layers


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One row of the table."""

    name: str
    kind: Kind
    default: Any
    low: float | None  # of numbers, both ends allowed
    high: float | None
    step: float | None  # of a slider
    choices: tuple[str, ...]  # of a choice
    label: str
    hint: str  # one sentence: what a higher or another value does
    group: Group

    @property
    def optional(self) -> bool:
        """Whether None is allowed: the model's own number, or no seed."""
        return self.default is None

    @property
    def expected(self) -> str:
        """What is allowed, as an error says it."""
        if self.kind == "choice":
            return " or ".join(map(repr, self.choices))
        if self.kind == "layers":
            return "a list of layer names such as ['up.fine'], or an empty one for none"
        number = "a whole number" if self.kind == "whole" else "a number"
        return f"{number} from {self.low:.16g} to {self.high:.16g}{', or none' if self.optional else ''}"

    def parse(self, text: str) -> Any:
        """The value that a text stands for, checked: `0.5`, `joint`, `none`, `up.fine+mid`.

        Raises:
            SettingsError: it stands for none, or for one out of range.
        """
        text = text.strip()
        value: Any = text
        try:
            if self.kind == "layers":
                value = () if text.lower() == NONE else tuple(name.strip() for name in text.split("+"))
            elif self.kind == "choice":
                value = text.lower()
            elif self.optional and text.lower() == NONE:
                value = None
            else:
                value = int(text) if self.kind == "whole" else float(text)
        except ValueError:
            pass  # the check below says what was expected
        kind = InversionSettings if self.group == "inversion" else FusionSettings
        return getattr(kind.from_dict({self.name: value}), self.name)


def _row(
    default: Any,
    label: str,
    hint: str,
    *,
    low: float | None = None,
    high: float | None = None,
    step: float | None = None,
    group: Group = "advanced",
) -> Any:
    extra: dict[str, Any] = {"step": step, "group": group}
    return Field(default, ge=low, le=high, title=label, description=hint, json_schema_extra=extra)


class _Settings(BaseModel):
    """Frozen, and every violation is a SettingsError of one sentence."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(_sentence(type(self), values, error)) from None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Settings from plain values (JSON, PNG text). Raises SettingsError."""
        if not isinstance(values, Mapping):
            raise SettingsError(f"The settings got {reprlib.repr(values)}, expected names with values.")
        return cls(**values)

    def replace(self, **changes: Any) -> Self:
        """The same settings but for the changes, checked anew. Raises SettingsError."""
        return type(self)(**{**dict(self), **changes})


class InversionSettings(_Settings):
    """How a picture is inverted. Changing one of these needs a new inversion."""

    # A trajectory needs two points; 200 is four times what StyleID takes, and an end for what one job may cost.
    steps: int | None = _row(
        None, "Inversion steps", "More: finer and slower; every picture is read again.",
        low=2, high=200, step=1, group="inversion",
    )  # fmt: skip
    # 64 pixels are one token in the coarsest layer of Stable Diffusion; 2048 are twice the size of its largest family.
    size: int | None = _row(
        None, "Size", "Long side in pixels; without a number the size that the model was trained at.",
        low=64, high=2048, step=32, group="inversion",
    )  # fmt: skip


class FusionSettings(_Settings):
    """How stored features are fused into a render. Changing these never needs a new inversion."""

    # Above 1 the style is extrapolated; strength sliders of similar programs end at 1.5 to 2.
    strength: float = _row(
        1.0, "Style strength", "Higher: more of the style, less of the person; 0 is the photograph.",
        low=0, high=1.5, step=0.05, group="main",
    )  # fmt: skip
    structure: float = _row(
        0.0, "Structure", "Higher: shapes stay closer to the photograph.", low=0, high=1, step=0.05, group="main"
    )
    colour: float = _row(
        1.0, "Colour", "Higher: colours come closer to the style's; 0 keeps the photograph's.",
        low=0, high=1, step=0.05, group="main",
    )  # fmt: skip
    # With .25 one of 45 pixels is found in 19 of twenty styles, with .2 in all.
    faces: float = _row(
        0.2, "Faces", "Lower: faces that are found take fewer strokes; with a region it does nothing.",
        low=0, high=1, step=0.05, group="main",
    )  # fmt: skip
    detail: float = _row(
        1.0, "Detail", "Higher: fine lines of the photograph that the model cannot draw come back.",
        low=0, high=1, step=0.05,
    )  # fmt: skip
    # 1.2: by evaluation on mini; StyleID takes 1.5. The ends: nearly the mean of all patches, nearly one patch alone.
    temperature: float = _row(
        1.2, "Sharpness", "Higher: fewer, better matching patches of the style.", low=0.1, high=5, step=0.1
    )
    # 1 is what mini learnt with, see docs/training.md; on Stable Diffusion nobody has looked at it yet.
    balance: float = _row(
        1.0, "Balance", "Higher: all of the style picture is used alike, its rare colours too.",
        low=0, high=1, step=0.05,
    )  # fmt: skip
    # By evaluation and by eye on mini: 3 reaches places four latents away, and above 1 little things get lost, see
    # docs/training.md; on Stable Diffusion nobody has looked at it yet.
    neighbours: float = _row(
        1.0, "Stroke size", "Higher: strokes are taken over in larger pieces, small things in the photograph suffer.",
        low=0, high=3, step=0.05,
    )  # fmt: skip
    strokes: float = _row(
        0.65, "Strokes", "Higher: more of the style's marks; lower: more of the photograph, in the style's contrast.",
        low=0, high=1, step=0.05,
    )  # fmt: skip
    start: float = _row(
        0.0, "Start", "Later: the style leaves large shapes and colours alone.", low=0, high=1, step=0.05
    )
    end: float = _row(1.0, "End", "Earlier: the style leaves fine detail alone.", low=0, high=1, step=0.05)
    residual: float = _row(
        1.0, "Residual", "Higher: every step is held closer to the photograph's own way through the noise.",
        low=0, high=1, step=0.05,
    )  # fmt: skip
    palette: Palette = _row(
        "off", "Palette",
        "When colours are mapped: both at start and end, at the end alone, by adain at the start (StyleID), or off.",
    )  # fmt: skip
    fusion: Fusion = _row(
        "blend", "Fusion", "blend: two attentions, weighted by strength; joint: one over photograph and style together."
    )
    layers: tuple[str, ...] = _row(
        ("up.fine",), "Layers", "Where the style enters: all, up, fine, up.fine, a layer's label or name; or none."
    )
    render_steps: int | None = _row(
        None, "Render steps", "Fewer: faster; without a number every stored step.", low=1, high=200, step=1
    )
    seed: int | None = _row(
        None, "Seed", "Each number draws another variation; without one there is a single result.",
        low=0, high=LARGEST_SEED, step=1,
    )  # fmt: skip
    outside: float = _row(
        0.0, "Strength outside", "Style strength outside the region; without a region it does nothing.",
        low=0, high=1.5, step=0.05, group="region",
    )  # fmt: skip

    @field_validator("layers", mode="before")
    @classmethod
    def _to_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("layers")
    @classmethod
    def _named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(value):
            raise ValueError("a layer has no name")
        return value

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start > self.end:
            raise ValueError(f"start ({self.start:g}) lies after end ({self.end:g}); make start the smaller one.")
        return self


def _rows(kind: type[_Settings]) -> dict[str, Setting]:
    rows = {}
    for name, field in kind.model_fields.items():
        choices = get_args(field.annotation) if isinstance(field.default, str) else ()
        if isinstance(field.default, tuple):
            sort: Kind = "layers"
        elif choices:
            sort = "choice"
        else:
            sort = "number" if isinstance(field.default, float) else "whole"
        limits = {key: getattr(item, key) for item in field.metadata for key in ("ge", "le") if hasattr(item, key)}
        rows[name] = Setting(
            name=name, kind=sort, default=field.default, low=limits.get("ge"), high=limits.get("le"), choices=choices,
            label=field.title, hint=field.description, **field.json_schema_extra,  # type: ignore[arg-type]
        )  # fmt: skip
    return rows


TABLE = _rows(FusionSettings) | _rows(InversionSettings)


def table() -> list[Setting]:
    """Every setting, those of the fusion first."""
    return list(TABLE.values())


def _sentence(kind: type[_Settings], values: Mapping[str, Any], error: ValidationError) -> str:
    """What is wrong, for people: unknown names first, else the first wrong value."""
    errors = error.errors()
    unknown = sorted(str(item["loc"][0]) for item in errors if item["type"] == "extra_forbidden")
    if unknown:
        return f"Unknown setting {', '.join(unknown)}; known are {', '.join(sorted(kind.model_fields))}."
    if not errors[0]["loc"]:
        return str(errors[0]["ctx"]["error"])
    name = str(errors[0]["loc"][0])
    return f"{name} got {reprlib.repr(values[name])}, expected {TABLE[name].expected}."


KEPT = ("render_steps", "seed", "outside")  # by a preset: they are about cost, chance and region, not about looks


def _preset(**changes: Any) -> dict[str, Any]:
    return FusionSettings(**changes).model_dump(exclude=set(KEPT))


# Gentle, Painterly and Bold: by eye on mini. Attention alone is FFA and nothing else, as mini learnt to be used.
# StyleID's attention: the numbers of its paper (arXiv 2312.09008), with a palette for the colours of its start.
PRESETS = {
    "Gentle": _preset(strength=0.6, faces=0.4),
    "Painterly": _preset(strokes=0.8, neighbours=3.0),
    "Bold": _preset(strength=1.15, strokes=0.8, faces=0.15),
    "Keep my colours": _preset(colour=0.0),
    "Attention alone": _preset(),
    "StyleID's attention": _preset(
        structure=0.75, detail=0.0, temperature=1.5, layers=("up.middle", "up.fine"),
        faces=1.0, balance=0.0, neighbours=0.0, strokes=1.0, palette="both",
    ),
}  # fmt: skip
RENAMED_PRESETS = {"StyleID": "StyleID's attention", "Texture only": "Keep my colours"}  # since 0.1


def apply_preset(name: str, settings: FusionSettings) -> FusionSettings:
    """`settings` with the numbers of the named preset (also under its name in 0.1); those in KEPT stay.

    Raises:
        SettingsError: there is no such preset.
    """
    preset = PRESETS.get(RENAMED_PRESETS.get(name, name))
    if preset is None:
        raise SettingsError(f"There is no preset {name!r}; choose one of {', '.join(PRESETS)}.")
    return settings.replace(**preset)


def draft_steps(steps: int) -> int:
    """How many steps the draft of a render of `steps` takes: at most half of them.

    Two of mini's five are 24 to 31 dB from the full render at about half of its time (the astronaut in five styles).
    """
    return max(1, min(MOST_DRAFT_STEPS, steps // 2))


def inversion_calls(steps: int, corrections: int) -> int:
    """Model calls that the inversion of one picture takes, see `method.invert`."""
    return steps + corrections * (steps - 1)


GROUPS_01 = {"structure": "coarse", "colour": "middle", "texture": "fine"}
# Settings since 0.1, at what they were then.
FIXED_01: dict[str, Any] = {"faces": 1.0, "balance": 0.0, "neighbours": 0.0, "strokes": 1.0, "palette": "both"}


def from_version_01(values: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Values of FusionSettings as MagicStyle 0.1 wrote them, in today's names; and a sentence about what is gone."""
    current = {**FIXED_01, **values}
    if "steps" in current:
        current["render_steps"] = current.pop("steps")
    if isinstance(current.get("layers"), list):
        parts = [str(name).split(".") for name in current["layers"]]
        current["layers"] = [".".join(GROUPS_01.get(part, part) for part in name) for name in parts]
    texture = current.pop("texture", 0)
    return current, f"Texture ({texture}) is gone since 0.1, so the picture will look different." if texture else ""
