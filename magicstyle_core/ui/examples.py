"""The bundled examples: photograph, style, settings and a precomputed result each.

`python -m magicstyle_core.ui.examples` renders the results again, for after the embedded model has changed.
They are read from assets/examples/examples.json, a list of objects with the keys content, style, settings, result
(file names in that folder) and caption.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from magicstyle_core import FusionSettings

FOLDER = Path(__file__).resolve().parents[2] / "assets" / "examples"


@dataclass(frozen=True)
class Example:
    """One bundled example."""

    content: Path
    style: Path
    settings: FusionSettings
    result: Path
    caption: str


def load_examples(folder: Path = FOLDER) -> list[Example]:
    """Every example whose result is there."""
    index = folder / "examples.json"
    if not index.is_file():
        return []
    examples = [
        Example(
            content=folder / entry["content"],
            style=folder / entry["style"],
            settings=FusionSettings.from_dict(entry["settings"]),
            result=folder / entry["result"],
            caption=entry["caption"],
        )
        for entry in json.loads(index.read_text())
    ]
    return [example for example in examples if example.result.is_file()]
