"""The layers chooser: human names, groups, and a small diagram of the UNet."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from magicstyle_core import StyleEngine
from magicstyle_core.hooks import Layer, choose_layers

GROUPS = {"coarse": "Coarse", "middle": "Middle", "fine": "Fine"}
GROUP_WORDS = {"coarse": "large shapes", "middle": "colour areas", "fine": "fine texture"}

BOX, GAP = 26, 8  # of the diagram, in pixels


class LayerChooser:
    """Names of one model's self-attention layers as people see them."""

    def __init__(self, engine: StyleEngine) -> None:
        self.layers = engine.layers()
        self.names = [layer.name for layer in self.layers]
        rows = engine.model.size // engine.model.multiple
        self._sizes = {layer.name: layer.size(rows, rows) for layer in self.layers}

    def choices(self) -> list[tuple[str, str]]:
        """(label, name) of every layer, such as `up 3.0 · 64×64 · fine texture`."""
        return [(self._label(layer), layer.name) for layer in self.layers]

    def group_choices(self) -> list[tuple[str, str]]:
        """(label, group) of the groups that this model has."""
        present = {layer.group for layer in self.layers}
        return [(label, group) for group, label in GROUPS.items() if group in present]

    def expand(self, chosen: Sequence[str]) -> list[str]:
        """Layer names for what settings may hold: "all", groups, labels, dotted prefixes. Raises SettingsError."""
        return [layer.name for layer in choose_layers(self.layers, chosen)]

    def compress(self, names: Sequence[str]) -> tuple[str, ...]:
        """The shortest way to say the same in settings."""
        return ("all",) if set(names) == set(self.names) else tuple(names)

    def switch_groups(self, names: Sequence[str], groups: Sequence[str]) -> list[str]:
        """The chosen layers after groups were switched on or off; a group chosen in part stays as it is."""
        off = set(self.full_groups(names)) - set(groups)
        return [
            layer.name
            for layer in self.layers
            if layer.group in groups or (layer.name in names and layer.group not in off)
        ]

    def full_groups(self, names: Sequence[str]) -> list[str]:
        """The groups all of whose layers are among `names`."""
        chosen = set(names)
        missing = {layer.group for layer in self.layers if layer.name not in chosen}
        return [group for _, group in self.group_choices() if group not in missing]

    def diagram(self, names: Sequence[str]) -> str:
        """The UNet as an SVG: a box per layer, deeper where the picture is smaller, filled where FFA is on."""
        depth = max(layer.level for layer in self.layers)
        width = len(self.layers) * (BOX + GAP) + GAP
        height = (depth + 1) * (BOX + GAP) + GAP
        chosen = set(names)
        boxes, points = [], []
        for column, layer in enumerate(self.layers):
            x = GAP + column * (BOX + GAP)
            y = GAP + layer.level * (BOX + GAP)
            points.append(f"{x + BOX / 2},{y + BOX / 2}")
            state = "on" if layer.name in chosen else "off"
            title = escape(f"{self._label(layer)}: {state}")
            boxes.append(
                f'<rect class="ms-{state} ms-{layer.group}" x="{x}" y="{y}" width="{BOX}" height="{BOX}" rx="6">'
                f"<title>{title}</title></rect>"
            )
        summary = f"{len(chosen)} of {len(self.layers)} layers take part"
        return (
            f'<figure class="ms-unet"><svg viewBox="0 0 {width} {height}" role="img" aria-label="{summary}">'
            f'<polyline points="{" ".join(points)}"/>{"".join(boxes)}</svg>'
            f"<figcaption>{summary}: the picture goes in at the left, shrinks, and grows again.</figcaption></figure>"
        )

    def _label(self, layer: Layer) -> str:
        rows, columns = self._sizes[layer.name]
        return f"{layer.label} · {columns}×{rows} · {GROUP_WORDS[layer.group]}"
