"""The attention lens: where in the style pictures a spot of the result looked."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from magicstyle_core import method
from magicstyle_core.attention import agree, style_shares
from magicstyle_core.bank import Inversion
from magicstyle_core.engine import StyleEngine
from magicstyle_core.errors import SettingsError
from magicstyle_core.hooks import Fusing, by_heads, per_query, record
from magicstyle_core.images import Picture
from magicstyle_core.layers import Layer
from magicstyle_core.plan import Plan, Styles, plan
from magicstyle_core.settings import WAY_DOWN, FusionSettings


class NotRendered(SettingsError):
    """The lens looks at renders that are remembered, and this one is not."""


@torch.no_grad()
def look(
    engine: StyleEngine,
    content: Inversion,
    styles: Styles,
    settings: FusionSettings,
    spot: tuple[float, float],
    *,
    mask: Image.Image | None = None,
    group: str = "fine",
    way_down: float = WAY_DOWN,
) -> list[NDArray[np.float32]]:
    """The attention that a spot of a finished render paid to each style picture; together they sum to 1.

    The queries are the target's at one step, kept by the render; the keys are the style's stored ones. The mean is
    taken over heads and over the fused layers of the group. It takes one UNet call.

    Args:
        spot: across and down, from 0 to 1.
        group: coarse, middle or fine; where FFA is in none of its layers, all layers with FFA.
        way_down: at which step, from 0 (noise) to 1; the nearest that is known.

    Returns:
        One map for each style, (height, width) of its latents.

    Raises:
        SettingsError: no layer fuses.
        NotRendered: these settings were not rendered yet, or too long ago.
    """
    wish = plan(engine.model, content, styles, settings, mask)
    layers = [layer for layer in wish.layers if layer.group == group] or wish.layers
    if not layers:
        raise SettingsError("FFA is off in this render, so no spot looked anywhere; choose layers and a strength.")
    n, latents = _known_step(engine, wish, way_down)
    step, features = wish.steps[n], engine.reader(wish)
    with engine.fusing(wish, features)(step), record(engine.model.unet, layers) as seen:
        engine.guard.denoise(latents, content.timesteps[step])
    content_features = features(content, step)
    style_features = [features(style, step) for style, _ in wish.styles]
    maps = [torch.zeros(1, 1, *style.trajectory.latents.shape[3:]) for style, _ in wish.styles]
    how = Fusing(wish.strength, weights=[weight for _, weight in wish.styles], allowed=wish.looked_at)
    for layer in layers:
        attn, token = engine.model.unet.get_submodule(layer.name), _token(engine, content, layer, spot)
        grids, strength = how.grids(layer), per_query(layer, how.strength)
        target = seen[layer.name]  # (1, tokens, channels)
        query, own = (attn.to_q(states) for states in (target, content_features[layer.name].to(target)))
        query = by_heads(attn, query + settings.structure * (own - query))  # (1, heads, tokens, dim)
        scale = settings.temperature * query.shape[-1] ** -0.5
        keys = [
            by_heads(attn, attn.to_k(known[layer.name].to(target)[:, style.tokens]))
            for known, style in zip(style_features, grids[1:], strict=True)
        ]
        if not settings.balance and not settings.neighbours:  # each token looks for itself
            query, strength, token = query[:, :, token : token + 1], strength[:, :, token : token + 1], 0
        by_head = style_shares(
            query, torch.cat(keys, 2), how.style_bias(grids[1:]).to(target), scale,
            strength=strength.to(target), balance=settings.balance,
        )  # fmt: skip
        heads = [agree(shares, grids, settings.neighbours)[0, token] for shares, _ in by_head]
        paid = torch.stack(heads).mean(0).cpu().split([len(style.tokens) for style in grids[1:]])
        for total, part, style in zip(maps, paid, grids[1:], strict=True):
            share = torch.zeros(style.rows * style.columns)
            share[style.tokens] = part
            share = share.view(1, 1, style.rows, style.columns) / len(share)
            total += F.interpolate(share, total.shape[2:], mode="bilinear") * share.numel()
    inside = [engine.model.of_the_picture(total)[0, 0] for total in maps]  # (height, width)
    whole = sum(float(total.sum()) for total in inside)
    return [(total / whole).numpy() for total in inside]


def lit(picture: Picture, paid: NDArray[np.float32]) -> Image.Image:
    """A style picture with light on what was looked at, as its square root: a single peak would leave all else black.

    A tenth of the light is everywhere, so that one sees where.
    """
    light = Image.fromarray(np.sqrt(paid / paid.max())).resize(picture.image.size, Image.Resampling.BICUBIC)
    return Image.fromarray((picture.pixels * (0.1 + 0.9 * np.asarray(light).clip(0, 1))[..., None]).astype(np.uint8))


def _known_step(engine: StyleEngine, wish: Plan, way_down: float) -> tuple[int, Tensor]:
    """The step with FFA nearest to that place on the way down whose latents are remembered, and these."""
    settings, stored = wish.settings, wish.content.steps
    places = [method.way_down(index, stored) for index in wish.steps]
    for n in sorted(range(1, len(places)), key=lambda n: abs(places[n] - way_down)):
        latents = engine.store.remembered(wish.content.session, wish.history[n])
        if latents is not None and settings.start <= places[n] <= settings.end:
            return n, latents.to(engine.model.device)
    raise NotRendered("The lens needs the picture with these settings; render it in full first.")


def _token(engine: StyleEngine, content: Inversion, layer: Layer, spot: tuple[float, float]) -> int:
    """The layer's token that stands for a spot of the picture."""
    height, width = content.picture.pixels.shape[:2]
    column, row = (min(int(place * side), side - 1) for place, side in zip(spot, (width, height), strict=True))
    mark = torch.zeros(1, 1, height, width)
    mark[..., row, column] = 1
    marked = engine.model.strength_map(mark)
    return int(F.adaptive_avg_pool2d(marked, layer.size(marked.shape[2], marked.shape[3])).argmax())
