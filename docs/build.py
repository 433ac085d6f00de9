"""Writes docs/settings.md from the table of settings: `python -m docs.build`. With --pictures also its pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from magicstyle_core.__main__ import main
from magicstyle_core.settings import KEPT, LARGEST_SEED, NONE, PRESETS, TABLE, Group, Setting, table

DOCS = Path(__file__).parent
PAGE = DOCS / "settings.md"
PHOTO, STYLE = "assets/examples/portrait_astronaut.webp", "assets/examples/style_waves.webp"
PICTURES = {  # setting: the values shown
    "strength": "0, 0.5, 1, 1.5",
    "faces": "0, 0.5, 1",
    "structure": "0, 0.5, 1",
    "colour": "0, 0.5, 1",
    "temperature": "0.5, 1.2, 3",
    "balance": "0, 0.5, 1",
    "neighbours": "0, 1, 3",
    "strokes": "0, 0.5, 1",
    "palette": "both, end, adain, off",
    "layers": "none, up.fine, up, all",
    "seed": "none, 0, 1, 2",
}
HEADINGS: dict[Group, str] = {
    "main": "The picture",
    "advanced": "Advanced",
    "region": "Region",
    "inversion": "Inversion: changing one of these inverts the pictures again",
}


def markdown() -> str:
    """docs/settings.md."""
    command = " ".join(f"'{word}'" if " " in word else word for word in picture_command("strength"))
    lines = [
        "# Settings",
        "",
        "The same names and ranges hold on the page, in Python, over HTTP, as axes of a grid, and as options of the",
        "command line (`--render-steps` for `render_steps`). Made by `python -m docs.build` from the table in",
        "`magicstyle_core/settings.py`, and with `--pictures` these pictures of the embedded model, such as",
        "",
        f"    magicstyle {command}",
    ]
    for group, heading in HEADINGS.items():
        settings = [setting for setting in table() if setting.group == group]
        lines += ["", f"## {heading}", "", "| on the page | name | range | default | |", "|---|---|---|---|---|"]
        lines += [
            f"| {setting.label} | `{setting.name}` | {_range(setting)} | {_text(setting.default)} | {setting.hint} |"
            for setting in settings
        ]
        for setting in settings:
            if setting.name in PICTURES:
                title = f"{setting.label} at {PICTURES[setting.name]}"
                lines += ["", f"![{title}](settings/{setting.name}.webp)"]
    lines += [
        "",
        "## Presets",
        "",
        "What a preset does not name has its default.",
        "",
        "| preset | sets |",
        "|---|---|",
    ]
    for name, preset in PRESETS.items():
        changes = [f"`{key}` {_text(value)}" for key, value in preset.items() if value != TABLE[key].default]
        lines.append(f"| {name} | {', '.join(changes) or 'the defaults'} |")
    kept = ", ".join(f"`{name}`" for name in KEPT)
    return "\n".join([*lines, "", f"A preset leaves {kept} as they are.", ""])


def picture_command(name: str) -> list[str]:
    """Arguments of `magicstyle` for the picture of a setting."""
    return ["grid", PHOTO, STYLE, "-x", name, PICTURES[name], "-o", f"docs/settings/{name}.webp"]


def _range(setting: Setting) -> str:
    if setting.low is None or setting.high is None:
        return ", ".join(setting.choices) or "names"
    return f"{setting.low:g} to {'2^53 − 1' if setting.high == LARGEST_SEED else f'{setting.high:g}'}"


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or NONE
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    PAGE.write_text(markdown())
    if "--pictures" in sys.argv[1:]:
        sys.exit(max(main(picture_command(name)) for name in PICTURES))
