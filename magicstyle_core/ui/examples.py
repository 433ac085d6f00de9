"""The bundled examples: photograph, style, settings, and a result that was rendered before.

`python -m magicstyle_core.ui.examples` renders the results again, for after the embedded model has changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from magicstyle_core import ASSETS, FusionSettings, InversionSettings, StyleEngine
from magicstyle_core.settings import apply_preset

FOLDER = ASSETS / "examples"

CHOSEN = (  # portrait, style, preset
    ("portrait_1", "style_waves", "Painterly"),
    ("portrait_2", "style_night", "Bold"),
    ("portrait_3", "style_flowers", "Painterly"),
    ("portrait_4", "style_geometry", "Bold"),
    ("portrait_5", "style_sunrise", "Gentle"),
    ("portrait_6", "style_garden", "Painterly"),
    ("portrait_7", "style_mountains", "Colours only"),
    ("portrait_8", "style_city", "Keep my colours"),
)


@dataclass(frozen=True)
class Example:
    """One bundled example."""

    content: Path
    style: Path
    preset: str

    @property
    def settings(self) -> FusionSettings:
        return apply_preset(self.preset, FusionSettings())

    @property
    def result(self) -> Path:
        return self.content.with_name(f"result_{self.content.stem}_{self.style.stem}.webp")

    @property
    def caption(self) -> str:
        return self.style.stem.removeprefix("style_").capitalize()


def all_examples() -> list[Example]:
    """The examples in the order in which the page shows them."""
    return [Example(FOLDER / f"{content}.webp", FOLDER / f"{style}.webp", preset) for content, style, preset in CHOSEN]


def load_examples() -> list[Example]:
    """The examples whose files are all there."""
    return [
        example
        for example in all_examples()
        if example.content.is_file() and example.style.is_file() and example.result.is_file()
    ]


def main() -> None:
    engine = StyleEngine.load("mini")
    for example in all_examples():
        content, style = (engine.invert(path, InversionSettings()) for path in (example.content, example.style))
        picture = engine.stylize(content, style, example.settings)
        picture.image.save(example.result, quality=90)
        print(f"{example.result.name}: {picture.unet_calls} UNet calls, {picture.seconds:.1f} s")


if __name__ == "__main__":
    main()
