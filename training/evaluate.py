"""What the embedded model can do, in numbers and in a contact sheet.

    python -m training.evaluate --model assets/mini --sheet assets/mini/sheet.png > figures.md

Real photographs (scikit-image's) are stylised with the eight bundled style pictures; colour and texture are given
relative to the photograph's own distance from the style, so 1 is "nothing happened" and 0 is "as the style picture".
Procedural pairs have a known truth, the style drawn on the content itself; there the distances are to that truth.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image, ImageOps

from magicstyle_core import FusionSettings, StyleEngine
from magicstyle_core.features import Inversion
from magicstyle_core.images import to_image
from magicstyle_core.schedule import ddim_timesteps, move
from training import metrics
from training.natural import natural
from training.portraits import portrait
from training.styles import FAMILIES, sample_style

SIZE = 256
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
EXAMPLES = Path(__file__).resolve().parents[1] / "assets" / "examples"
STRENGTHS = (0.5, 1.0, 1.5)
Case = tuple[str, str, float]  # photograph, style, strength
UNSEEN = 10**9  # seeds from here on; the training pool's lie by chance, and far apart, below 2**31


def photograph(name: str) -> np.ndarray:
    """A photograph of scikit-image, its central square, uint8 (256, 256, 3)."""
    image = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
    return np.asarray(ImageOps.fit(image, (SIZE, SIZE), Image.Resampling.LANCZOS))


def bundled_styles() -> dict[str, np.ndarray]:
    """The style pictures of assets/examples by name, uint8 (256, 256, 3)."""
    pictures = {}
    for path in sorted(EXAMPLES.glob("style_*.webp")):
        with Image.open(path) as image:
            resized = ImageOps.fit(image.convert("RGB"), (SIZE, SIZE), Image.Resampling.LANCZOS)
        pictures[path.stem.removeprefix("style_")] = np.asarray(resized)
    return pictures


def invert(engine: StyleEngine, picture: np.ndarray) -> Inversion:
    return engine.invert(Image.fromarray(picture))


def render(engine: StyleEngine, content: Inversion, style: Inversion, settings: FusionSettings) -> np.ndarray:
    return np.asarray(engine.stylize(content, style, settings).image)


def round_trip(engine: StyleEngine) -> dict[str, tuple[float, float]]:
    """PSNR in dB and mean colour difference of each photograph after encoding and decoding."""
    rows = {}
    for name in PHOTOGRAPHS:
        picture = photograph(name)
        decoded = np.asarray(engine.decode(invert(engine, picture)))
        rows[name] = metrics.psnr(picture, decoded), metrics.delta_e(picture, decoded)
    return rows


def stylisation(
    engine: StyleEngine, styles: dict[str, np.ndarray], settings: FusionSettings
) -> tuple[dict[Case, tuple[float, float, float, float]], dict[Case, np.ndarray]]:
    """Colour, texture, edges and SSIM of every (photograph, style, strength), and the pictures themselves."""
    inverted = {name: invert(engine, picture) for name, picture in styles.items()}
    rows, results = {}, {}
    for name in PHOTOGRAPHS:
        picture = photograph(name)
        content = invert(engine, picture)
        for style_name, style in styles.items():
            colour, texture = metrics.colour_distance(picture, style), metrics.texture_distance(picture, style)
            for strength in STRENGTHS:
                result = render(engine, content, inverted[style_name], replace(settings, strength=strength))
                results[name, style_name, strength] = result
                rows[name, style_name, strength] = (
                    metrics.colour_distance(result, style) / colour,
                    metrics.texture_distance(result, style) / texture,
                    metrics.edge_correlation(result, picture),
                    metrics.ssim(result, picture),
                )
    return rows, results


def pairs(
    engine: StyleEngine, families: Iterable[str], count: int, settings: FusionSettings
) -> dict[tuple[str, float], tuple[float, float]]:
    """Colour and texture for (family, strength): mean distance to the truth over the contents' own mean distance.

    `count` pairs of each family; a family's pairs differ in style, content and style picture.
    """
    ratios = {}
    for family in families:
        own: list[tuple[float, float]] = []
        rendered: dict[float, list[tuple[float, float]]] = {strength: [] for strength in STRENGTHS}
        for index in range(count):
            seed = UNSEEN + 1000 + 100 * FAMILIES.index(family) + index
            picture = natural(seed, SIZE) if index % 3 == 2 else portrait(seed, SIZE)
            draw = sample_style(seed, family)
            truth, example = draw(picture, seed), draw(portrait(seed + 50, SIZE), seed + 50)
            content, style = invert(engine, picture), invert(engine, example)
            own.append((metrics.colour_distance(picture, truth), metrics.texture_distance(picture, truth)))
            for strength, distances in rendered.items():
                result = render(engine, content, style, replace(settings, strength=strength))
                distances.append((metrics.colour_distance(result, truth), metrics.texture_distance(result, truth)))
        for strength, distances in rendered.items():
            colour, texture = np.mean(distances, axis=0) / np.mean(own, axis=0)
            ratios[family, strength] = (colour, texture)
    return ratios


def identity(engine: StyleEngine) -> dict[str, tuple[float, float]]:
    """PSNR in dB to the photograph when it is its own style, strength 1 and structure 0, by `detail` 1 and 0."""
    rows = {}
    for name in PHOTOGRAPHS:
        picture = photograph(name)
        inverted = invert(engine, picture)
        with_detail, without = (
            render(engine, inverted, inverted, FusionSettings(strength=1.0, structure=0.0, detail=detail))
            for detail in (1.0, 0.0)
        )
        rows[name] = metrics.psnr(with_detail, picture), metrics.psnr(without, picture)
    return rows


def seconds(engine: StyleEngine, repeats: int = 5) -> dict[str, float]:
    """Median seconds of inverting two pictures, a full render and a draft."""
    taken: dict[str, list[float]] = {"invert both": [], "render": [], "draft": []}
    for index in range(repeats):
        session = f"timing {index}"
        start = time.perf_counter()
        content, style = (
            engine.invert(Image.fromarray(picture), session=session)
            for picture in (photograph("astronaut"), photograph("coffee"))
        )
        taken["invert both"].append(time.perf_counter() - start)
        taken["render"].append(engine.stylize(content, style).seconds)
        taken["draft"].append(engine.stylize(content, style, draft=True).seconds)
        engine.forget(session)
    return {name: statistics.median(values) for name, values in taken.items()}


@torch.no_grad()
def samples(engine: StyleEngine, count: int, steps: int = 20) -> list[np.ndarray]:
    """Pictures from noise alone, uint8 (256, 256, 3): what the model knows without a content picture."""
    backbone, pictures = engine.backbone, []
    timesteps = ddim_timesteps(steps, backbone.num_train_timesteps)
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        side = SIZE // backbone.multiple + 2 * backbone.margin
        latents = torch.randn(1, backbone.unet.config.in_channels, side, side, generator=generator)
        latents = latents.to(backbone.device)
        for i in reversed(range(steps)):
            noise_pred = backbone.noise_pred(latents, timesteps[i])
            below = backbone.alpha_cumprod(timesteps[i - 1]) if i else backbone.final_alpha_cumprod
            latents = move(latents, noise_pred, backbone.alpha_cumprod(timesteps[i]), below)
        pictures.append(np.asarray(to_image(backbone.decode(latents))))
    return pictures


def contact_sheet(
    styles: dict[str, np.ndarray], results: dict[Case, np.ndarray], noise_samples: Sequence[np.ndarray]
) -> Image.Image:
    """Styles along the top, photographs down the side, what the model makes of them at strength 1; samples below."""
    blank = np.full((SIZE, SIZE, 3), 255, np.uint8)
    rows = [[blank, *styles.values()]]
    rows += [[photograph(name), *(results[name, style, 1.0] for style in styles)] for name in PHOTOGRAPHS]
    rows.append([blank, *noise_samples])
    return Image.fromarray(np.vstack([np.hstack(row) for row in rows]))


def _table(title: str, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    names = list(header)
    print(f"### {title}\n\n| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for row in rows:
        print("| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row) + " |")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description="Figures and a contact sheet of the embedded model."
    )
    parser.add_argument("--model", default="mini", help="mini, or a folder in diffusers layout")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--pairs", type=int, default=4, help="procedural pairs of each family")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of all photographs and families here")
    arguments = parser.parse_args()
    engine, settings, families = StyleEngine.load(arguments.model), FusionSettings(), arguments.families

    trips = round_trip(engine)
    trips["mean"] = tuple(np.mean(list(trips.values()), axis=0))
    _table("Round trip", ("photograph", "PSNR dB", "ΔE"), ([name, *row] for name, row in trips.items()))

    styles = bundled_styles()
    rows, results = stylisation(engine, styles, settings)
    header = ("colour", "texture", "edges", "SSIM")
    _table(
        "Photographs at strength 1, by style",
        ("style", *header),
        ([style, *np.mean([rows[name, style, 1.0] for name in PHOTOGRAPHS], axis=0)] for style in styles),
    )
    _table(
        "Photographs, all styles, by strength",
        ("strength", *header),
        ([s, *np.mean([row for key, row in rows.items() if key[2] == s], axis=0)] for s in STRENGTHS),
    )
    if arguments.sheet:
        contact_sheet(styles, results, samples(engine, len(styles))).save(arguments.sheet)

    truth = pairs(engine, families, arguments.pairs, settings)
    best = {family: min(STRENGTHS, key=lambda s: sum(truth[family, s])) for family in families}
    _table(
        f"Distance from the truth, {arguments.pairs * len(families)} procedural pairs",
        ("family", "colour at 1", "texture at 1", "best strength", "colour there", "texture there"),
        ([family, *truth[family, 1.0], best[family], *truth[family, best[family]]] for family in families),
    )
    _table(
        "A picture as its own style",
        ("photograph", "PSNR dB", "PSNR dB without detail"),
        ([name, *row] for name, row in identity(engine).items()),
    )
    _table("Seconds, 256 × 256, 20 steps", ("task", "median"), seconds(engine).items())


if __name__ == "__main__":
    main()
