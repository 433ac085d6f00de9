"""A small drawing of the UNet: which layers the style enters."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from magicstyle_core.serving.places import LayerFacts

BOX, GAP = 26, 8  # pixels


def diagram(layers: Sequence[LayerFacts], names: Sequence[str]) -> str:
    """A box per layer, lower where the picture is smaller, filled where the style enters."""
    chosen = set(names)
    width = len(layers) * (BOX + GAP) + GAP
    height = (max(layer.level for layer in layers) + 1) * (BOX + GAP) + GAP
    boxes, points = [], []
    for column, layer in enumerate(layers):
        x, y = GAP + column * (BOX + GAP), GAP + layer.level * (BOX + GAP)
        points.append(f"{x + BOX / 2},{y + BOX / 2}")
        state = "on" if layer.name in chosen else "off"
        boxes.append(
            f'<rect class="ms-{state} ms-{layer.group}" x="{x}" y="{y}" width="{BOX}" height="{BOX}" rx="6">'
            f"<title>{escape(layer.label)}: {state}</title></rect>"
        )
    return (
        f'<svg class="ms-unet" viewBox="0 0 {width} {height}" role="img" aria-label="{len(chosen)} / {len(layers)}">'
        f'<polyline points="{" ".join(points)}"/>{"".join(boxes)}</svg>'
    )
