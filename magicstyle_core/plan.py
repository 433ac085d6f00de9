"""From settings to what one render will do: layers, steps, strength as a map, and the digests of its way.

Here strength becomes a map, once; below it is never a number again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from magicstyle_core import method
from magicstyle_core.bank import Inversion
from magicstyle_core.errors import SettingsError
from magicstyle_core.layers import Layer, choose_layers
from magicstyle_core.model import Model
from magicstyle_core.pixels import mask_tensor
from magicstyle_core.settings import FusionSettings, draft_steps

# Of what `faces` takes of the strokes, the share that it takes of the strength. By eye on mini, seven styles at 384
# pixels: with all of it a photograph's face stays in a painted picture, with nothing skin goes dark blue in *night*.
SPARED = 0.5

Styles = Inversion | Sequence[tuple[Inversion, float]]


@dataclass(frozen=True, eq=False)
class Plan:
    """One render, before any of its UNet calls."""

    content: Inversion
    styles: list[tuple[Inversion, float]]  # weights sum to 1
    settings: FusionSettings
    layers: list[Layer]  # where FFA applies; none where strength is 0 everywhere
    steps: list[int]  # the stored steps in the order of the render
    pixel_strength: Tensor  # (1, 1, height, width)
    strength: Tensor  # the same over latents, (1, 1, latent_height, latent_width)
    strokes: Tensor | None  # a map as strength; None = those of the style alone
    history: list[str]  # digests of what led to the latents before the first step and after each one

    @property
    def looked_at(self) -> list[Tensor]:
        """Where each style may be looked at, bool (height, width) of its latents."""
        ways = [style.trajectory for style, _ in self.styles]
        return [torch.ones(w.latents.shape[3:]).bool() if w.allowed is None else w.allowed for w in ways]

    def without_style(self) -> Plan:
        """The same at strength 0, with FFA: the content attends to itself."""
        return replace(self, strength=torch.zeros_like(self.strength), styles=[(self.content, 1.0)])


def plan(
    model: Model,
    content: Inversion,
    styles: Styles,
    settings: FusionSettings,
    mask: Image.Image | None = None,
    draft: bool = False,
) -> Plan:
    """Checks the wish and lays out its render.

    Raises:
        SettingsError: inversions of different steps, a layer that does not exist, more steps than stored, a style
            whose mask allows nothing.
    """
    weighted = [(styles, 1.0)] if isinstance(styles, Inversion) else list(styles)
    if not weighted or any(weight <= 0 for _, weight in weighted):
        raise SettingsError("Every style needs a weight above 0; take styles of weight 0 out, keep at least one.")
    for style, _ in weighted:
        if style.timesteps != content.timesteps:
            raise SettingsError(
                f"Content was inverted with {content.steps} steps, a style with {style.steps}; "
                "invert both with the same number."
            )
    count = settings.render_steps or content.steps - model.consistency  # whose finished latents need no call
    if count > content.steps:
        raise SettingsError(
            f"{count} render steps are asked for, {content.steps} are stored; invert again with more, or ask for fewer."
        )
    total = sum(weight for _, weight in weighted)
    weighted = [(_masked(model, style), weight / total) for style, weight in weighted]
    height, width = content.picture.pixels.shape[:2]
    pixel_strength, pixel_strokes = (
        torch.full((1, 1, height, width), number) for number in (settings.strength, settings.strokes)
    )
    faces = 1.0  # of the strokes that remain on them
    if mask is not None:
        inside = mask_tensor(mask, height, width)
        pixel_strength = settings.outside + inside * (settings.strength - settings.outside)
    elif settings.faces < 1 and content.faces is not None:
        faces = settings.faces
        spared = (1 - faces) * mask_tensor(content.faces, height, width)
        pixel_strength, pixel_strokes = pixel_strength * (1 - SPARED * spared), pixel_strokes * (1 - spared)
    strength = model.strength_map(pixel_strength)
    strokes = model.strength_map(pixel_strokes) if (pixel_strokes < 1).any() else None
    layers = choose_layers(model.layers, settings.layers) if strength.any() else []
    steps = method.subset(content.steps, draft_steps(count) if draft else count)
    history = _history(content, weighted, settings, layers, steps, strength, faces)
    return Plan(content, weighted, settings, layers, steps, pixel_strength, strength, strokes, history)


def _masked(model: Model, style: Inversion) -> Inversion:
    """A style with its mask over latents, in which half a latent counts as one."""
    if style.mask is None:
        return style
    height, width = style.picture.pixels.shape[:2]
    allowed = model.strength_map(mask_tensor(style.mask, height, width))[0, 0].cpu() >= 0.5  # (height, width)
    if not allowed.any():
        raise SettingsError("The mask of a style is black everywhere; make white what may be looked at.")
    return replace(style, trajectory=replace(style.trajectory, allowed=allowed))


def _history(
    content: Inversion,
    styles: Sequence[tuple[Inversion, float]],
    settings: FusionSettings,
    layers: Sequence[Layer],
    steps: Sequence[int],
    strength: Tensor,
    faces: float,
) -> list[str]:
    """Two renders whose settings differ only from some step on share the digests up to there."""
    amount = _digest(strength)
    references = [(style.key, weight, _digest(style.trajectory.allowed)) for style, weight in styles]
    fusion = (
        references, settings.structure, settings.temperature, settings.balance, settings.neighbours, settings.strokes,
        faces, settings.fusion, [layer.name for layer in layers],
    )  # fmt: skip
    start = (
        content.key, amount, settings.seed, settings.residual, settings.palette,
        None if settings.palette in ("end", "off") else (settings.colour, references),
    )  # fmt: skip
    digest = hashlib.sha256(repr(start).encode())
    history = [digest.hexdigest()]
    for n, i in enumerate(steps):
        fused = settings.start <= method.way_down(i, content.steps) <= settings.end
        last = n + 1 == len(steps)
        end = (settings.colour, references) if last and settings.palette in ("both", "end") else None
        digest.update(repr((steps[n : n + 2], fusion if fused and layers else None, end)).encode())
        history.append(digest.hexdigest())
    return history


def _digest(values: Tensor | None) -> str | None:
    return None if values is None else hashlib.sha256(values.cpu().numpy().tobytes()).hexdigest()
