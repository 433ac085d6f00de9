"""Fine detail, in pixels: what the VAE loses of the pictures is put back, and flat places take on the style's grain.

Latents at an eighth of the size hold no lashes, brush hairs or tesserae. An inversion keeps what its image lost, so
that a render gets it back: the content's where the content stays, the style's where the style arrived. Outlines of
the photograph that are stronger than what the style has there come back in any case.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from magicstyle_core.features import Inversion
from magicstyle_core.rendering import at_most_one
from magicstyle_core.settings import FusionSettings

NEIGHBOURHOOD = 3  # latents; places are alike if their latents over this square are
SPREAD = 0.2  # places whose squared distance is larger by this share are taken almost as often as the nearest
ROWS = 1024  # places looked up at once, which bounds the memory
GRAIN = 9  # pixels; grain is what differs from the mean over this square
GRAIN_LEVELS = 256  # quantiles at which the strength of a picture's grain is kept
MOST_GAIN = 2.0  # on the grain
FAINTEST = 1 / 255  # deviation below which grain counts as none
LATTICE = 5  # tiles along the square in which a lattice is looked for
FAVOUR = 1.4  # on the strength of the photograph's grain where it is compared with the render's
DECISION = 4  # exponent of that comparison; higher: all of one or all of the other
COMMON = (0.25, 0.55)  # share of the grain that tiles have in common: below none is a lattice, above all is
LUMA = (0.299, 0.587, 0.114)  # of red, green, blue (ITU-R BT.601)

Style = tuple[Tensor, Tensor, float]  # clean latents, lost detail, weight


def detailed(
    pixels: Tensor,
    latents: Tensor,
    content: Inversion,
    styles: Sequence[tuple[Inversion, float]],
    settings: FusionSettings,
    strength: float | Tensor,
) -> Tensor:
    """A decoded render with its fine detail: (1, 3, height, width) in [-1, 1] or a little beyond.

    Args:
        pixels: the decoded render, (1, 3, height, width).
        latents: the same before decoding, (1, channels, latent_height, latent_width).
        styles: with positive weights.
        strength: settings.strength, or a map of it, (1, 1, latent_height, latent_width).
    """
    amount = at_most_one(strength)
    if isinstance(amount, Tensor):
        amount = F.interpolate(amount, pixels.shape[2:], mode="nearest")  # (1, 1, height, width)
    total = sum(weight for _, weight in styles)
    references = [(s.latents.to(pixels), s.detail.to(pixels), weight / total) for s, weight in styles]
    grains = [(s.grain.to(pixels), weight / total) for s, weight in styles]
    pixels = without_lattice(pixels, pixels.shape[2] // latents.shape[2], amount)
    pixels = pixels + fused_detail(latents, content.detail.to(pixels), references, settings, amount)
    photograph = content.pixels.to(pixels) / 127.5 - 1  # (1, 3, height, width)
    pixels = with_outlines(pixels, photograph, settings.detail * amount)
    return with_grain(pixels, grains, settings.texture * amount)


def fused_detail(
    latents: Tensor, lost: Tensor, styles: Sequence[Style], settings: FusionSettings, amount: float | Tensor
) -> Tensor:
    """What to add to the decoded render: (1, 3, height, width), in units of pixels in [-1, 1].

        detail * ((1 - w) lost + w * sum of weight_s * lost_s, looked up),  w = amount * (1 - structure)

    Of a style's lost detail `colour` is the share of its chroma that comes along.

    Args:
        latents: the finished render, (1, channels, latent_height, latent_width).
        lost: of the content, (1, 3, height, width).
        styles: of each its clean latents, lost detail and weight; the weights sum to 1.
        amount: settings.strength up to 1, or a map of it, (1, 1, height, width).
    """
    share = torch.as_tensor(amount * (1 - settings.structure))
    fused = (1 - share) * lost
    if settings.detail > 0 and share.any():
        for style_latents, style_lost, weight in styles:
            found = looked_up(style_lost, latents, style_latents)
            grey = found.mean(1, keepdim=True)
            fused = fused + weight * share * (grey + settings.colour * (found - grey))
    return settings.detail * fused


def looked_up(lost: Tensor, latents: Tensor, style_latents: Tensor) -> Tensor:
    """At every place the detail of a style's place with similar latents: (1, 3, height, width).

    That is attention from the render's latents to the style's, with the style's detail as values and each place
    attending to one other alone: drawn (by the Gumbel-max trick, always the same way) among those about as near as
    the nearest, so that flat places do not repeat one tile.

    Args:
        lost: of the style, (1, 3, style_height, style_width).
        latents: (1, channels, latent_height, latent_width).
        style_latents: (1, channels, style_latent_height, style_latent_width).
    """
    patch = lost.shape[2] // style_latents.shape[2]  # pixels per latent
    query, key = (F.unfold(z, NEIGHBOURHOOD, padding=NEIGHBOURHOOD // 2)[0].T for z in (latents, style_latents))
    value = F.pixel_unshuffle(lost, patch)[0].flatten(1)  # (3 * patch^2, style places)
    draws = torch.Generator().manual_seed(0)
    drawn = []
    for rows in query.split(ROWS):
        distances = torch.cdist(rows, key).square()  # (rows, style places)
        uniform = torch.rand(distances.shape, generator=draws).clamp(min=1e-7).to(distances)
        gumbel = -(-uniform.log()).log()
        temperature = SPREAD * distances.min(1, keepdim=True).values
        drawn.append((temperature * gumbel - distances).argmax(1))
    found = value[:, torch.cat(drawn)].view(1, -1, latents.shape[2], latents.shape[3])
    return F.pixel_shuffle(found, patch)  # (1, 3, height, width)


def without_lattice(pixels: Tensor, patch: int, amount: float | Tensor) -> Tensor:
    """Takes out what neighbouring tiles of a latent each have in common, where that is most of their grain.

    A decoder draws faint lattices into flat places whose colours it has never seen, and grain would be built on them.

    Args:
        pixels: (1, 3, height, width) in [-1, 1].
        patch: pixels per latent.
        amount: 0 = as it is, 1 = all of it; a number or a map, (1, 1, height, width).
    """
    tiles = F.pixel_unshuffle(pixels - _blurred(pixels), patch)  # (1, 3 * patch^2, latent_height, latent_width)
    common = F.avg_pool2d(tiles, LATTICE, 1, LATTICE // 2, count_include_pad=False)
    energy = F.avg_pool2d(tiles.square().sum(1, keepdim=True), LATTICE, 1, LATTICE // 2, count_include_pad=False)
    share = common.square().sum(1, keepdim=True) / (energy + FAINTEST**2)  # (1, 1, latent_height, latent_width)
    low, high = COMMON
    lattice = common * ((share - low) / (high - low)).clamp(0, 1)
    return pixels - amount * F.pixel_shuffle(lattice, patch)


def with_outlines(pixels: Tensor, photograph: Tensor, amount: float | Tensor) -> Tensor:
    """`pixels` with the grain of the photograph's lightness where that is the stronger: (1, 3, height, width).

    Eyes, mouths and outlines win against the style's texture, skin and sky lose:

        m = (f E_photograph)^p / ((f E_photograph)^p + E^p),  E the deviation of lightness around a pixel

    Args:
        pixels: (1, 3, height, width) in [-1, 1].
        photograph: the same size.
        amount: 0 = as it is, 1 = all of m; a number or a map, (1, 1, height, width).
    """
    own, render = (FAVOUR * _grain_energy(photograph)) ** DECISION, _grain_energy(pixels) ** DECISION
    share = amount * own / (own + render)  # (1, 1, height, width)
    own_lightness, lightness = _lightness(photograph), _lightness(pixels)
    change = (own_lightness - _blurred(own_lightness)) - (lightness - _blurred(lightness))
    return pixels + share * change


def grain_levels(pixels: Tensor) -> Tensor:
    """How strong the grain is around each pixel, as ascending quantiles: (GRAIN_LEVELS,).

    Args:
        pixels: (1, 3, height, width) in [-1, 1].
    """
    ordered = _grain_energy(pixels).flatten().sort().values
    return _interpolated(ordered, GRAIN_LEVELS)


def with_grain(pixels: Tensor, grains: Sequence[tuple[Tensor, float]], amount: float | Tensor) -> Tensor:
    """`pixels` with the styles' strengths of grain, none of it moved: (1, 3, height, width).

    Where AdaIN (Huang & Belongie, arXiv 1703.06868) scales a whole channel by one ratio of deviations, this maps the
    distribution of the local deviations of lightness: flat places get the grain of the style's flat places, outlines
    keep their rank.

    Args:
        pixels: (1, 3, height, width) in [-1, 1].
        grains: `grain_levels` and weights that sum to 1.
        amount: 0 = as it is, 1 = as in the styles; a number or a map, (1, 1, height, width).
    """
    energy = _grain_energy(pixels)
    order = energy.flatten().argsort()  # (height * width,)
    log_gain = torch.zeros_like(energy)
    for levels, weight in grains:
        wanted = torch.empty_like(energy)
        wanted.view(-1)[order] = _interpolated(levels, len(order))
        log_gain = log_gain + weight * (wanted / energy).log()
    gain = (amount * log_gain).exp().clamp(max=MOST_GAIN)  # (1, 1, height, width)
    return pixels + (gain - 1) * (pixels - _blurred(pixels))


def _grain_energy(pixels: Tensor) -> Tensor:
    """Deviation of lightness around every pixel, (1, 1, height, width); never 0."""
    lightness = _lightness(pixels)
    return (_blurred((lightness - _blurred(lightness)).square()) + FAINTEST**2).sqrt()


def _lightness(pixels: Tensor) -> Tensor:
    return (pixels * pixels.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)  # (1, 1, height, width)


def _blurred(pixels: Tensor) -> Tensor:
    """The mean over a square around every pixel, without what lies outside: along columns, then along rows."""
    columns = F.avg_pool2d(pixels, (GRAIN, 1), 1, (GRAIN // 2, 0), count_include_pad=False)
    return F.avg_pool2d(columns, (1, GRAIN), 1, (0, GRAIN // 2), count_include_pad=False)


def _interpolated(ordered: Tensor, count: int) -> Tensor:
    return F.interpolate(ordered[None, None], count, mode="linear", align_corners=True)[0, 0]
