"""Where FFA can apply, and which of these places a person means. No torch here: a page asks it too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from magicstyle_core.errors import SettingsError

GROUPS = ("coarse", "middle", "fine")


@dataclass(frozen=True)
class Layer:
    """One self-attention module of a UNet."""

    name: str  # as diffusers names it: up_blocks.2.attentions.1.transformer_blocks.0.attn1
    label: str  # as people see it: up 2.1
    level: int  # times its input is halved against the latents
    group: str  # "coarse", "middle" or "fine", by rank of resolution among the layers that exist

    @property
    def side(self) -> str:
        """Where it is: "down", "mid" or "up"."""
        return self.label.split()[0]

    @property
    def block(self) -> str:
        """The attention block that it is in, whose name means all layers there: ten in some of XL's."""
        return self.name.split(".transformer_blocks")[0]

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the layer's tokens for latents of that height and width."""
        return -(-height // 2**self.level), -(-width // 2**self.level)


def choose_layers(layers: Sequence[Layer], chosen: Sequence[str]) -> list[Layer]:
    """The layers that the chosen names mean; no name, no layer.

    A name is "all", a side ("up"), a group ("fine"), both ("up.fine"), a label ("up 2.1"), or a dotted prefix of the
    module's name ("up_blocks.2").

    A group that this model does not have, as "middle" in Stable Diffusion XL, is left out where another name matches.

    Raises:
        SettingsError: a name matches no layer.
    """
    hits = {
        choice: {
            layer.name
            for layer in layers
            if choice in ("all", layer.side, layer.group, f"{layer.side}.{layer.group}", layer.label)
            or f"{layer.name}.".startswith(f"{choice}.")
        }
        for choice in chosen
    }
    for choice, names in hits.items():
        group_elsewhere = choice.split(".")[-1] in GROUPS and any(hits.values())
        if not names and not group_elsewhere:
            labels = ", ".join(layer.label for layer in layers)
            raise SettingsError(
                f"Layer {choice!r} matches nothing in this model. Choose 'all', a side (down, mid, up), a group "
                f"(coarse, middle, fine), both (up.fine), or one of: {labels}."
            )
    return [layer for layer in layers if any(layer.name in names for names in hits.values())]


def choose_blocks(layers: Sequence[Layer], chosen: Sequence[str]) -> list[str]:
    """Names of the attention blocks of the chosen layers. Raises SettingsError."""
    return list(dict.fromkeys(layer.block for layer in choose_layers(layers, chosen)))
