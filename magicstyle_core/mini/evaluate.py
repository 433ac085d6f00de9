"""What the embedded model can do, in numbers and in a contact sheet.

    python -m magicstyle_core.mini.evaluate --model assets/mini --sheet assets/mini/sheet.png > figures.md

Real photographs (scikit-image's) are stylised with one style of every family; colour and texture are given relative to
the photograph's own distance from the style, so 1 is "nothing happened" and 0 is "as the style image". Procedural
pairs have a known truth, the style drawn on the content itself; there the distances are to that truth.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image, ImageOps

from magicstyle_core import FusionSettings, StyleEngine, metrics
from magicstyle_core.features import Inversion
from magicstyle_core.mini.natural import natural
from magicstyle_core.mini.portraits import portrait
from magicstyle_core.mini.styles import FAMILIES, sample_style

SIZE = 256
ROUND_TRIP = ("astronaut", "chelsea", "coffee", "rocket")
PHOTOGRAPHS = (*ROUND_TRIP, "camera")
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
PAIR_STRENGTHS = (0.75, 1.0, 1.25, 1.5)
UNSEEN = 10**9  # seeds from here on; the training pool's lie by chance, and far apart, below 2**31


def photograph(name: str) -> np.ndarray:
    """A photograph of scikit-image, its central square, uint8 (256, 256, 3)."""
    image = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
    return np.asarray(ImageOps.fit(image, (SIZE, SIZE), Image.Resampling.LANCZOS))


def style_picture(family: str, seed: int = UNSEEN) -> np.ndarray:
    """A portrait drawn in an unseen style of the family, uint8 (256, 256, 3)."""
    number = seed + FAMILIES.index(family)
    return sample_style(number, family)(portrait(number, SIZE), number)


def invert(engine: StyleEngine, picture: np.ndarray) -> Inversion:
    return engine.invert(Image.fromarray(picture))


def render(engine: StyleEngine, content: Inversion, style: Inversion, settings: FusionSettings) -> np.ndarray:
    return np.asarray(engine.stylize(content, style, settings).image)


def round_trip(engine: StyleEngine) -> dict[str, tuple[float, float]]:
    """PSNR in dB and mean colour difference of each photograph after encoding and decoding."""
    rows = {}
    for name in ROUND_TRIP:
        picture = photograph(name)
        decoded = np.asarray(engine.decode(invert(engine, picture)))
        rows[name] = metrics.psnr(picture, decoded), metrics.delta_e(picture, decoded)
    return rows


def stylisation(
    engine: StyleEngine,
    names: Iterable[str],
    families: Iterable[str],
    strengths: Iterable[float],
    settings: FusionSettings,
) -> dict[tuple[str, str, float], tuple[float, float, float, float]]:
    """Colour, texture, edges and SSIM for (photograph, family, strength)."""
    styles = {family: style_picture(family) for family in families}
    inverted = {family: invert(engine, picture) for family, picture in styles.items()}
    rows = {}
    for name in names:
        picture = photograph(name)
        content = invert(engine, picture)
        for family, style in styles.items():
            colour, texture = metrics.colour_distance(picture, style), metrics.texture_distance(picture, style)
            for strength in strengths:
                result = render(engine, content, inverted[family], replace(settings, strength=strength))
                rows[name, family, strength] = (
                    metrics.colour_distance(result, style) / colour,
                    metrics.texture_distance(result, style) / texture,
                    metrics.edge_correlation(result, picture),
                    metrics.ssim(result, picture),
                )
    return rows


def pairs(
    engine: StyleEngine, families: Iterable[str], count: int, strengths: Iterable[float], settings: FusionSettings
) -> dict[tuple[str, float], tuple[float, float]]:
    """Mean colour and texture for (family, strength), relative to the content's own distance from the truth.

    `count` pairs of each family; a family's pairs differ in style, content and style picture.
    """
    collected: dict[tuple[str, float], list[tuple[float, float]]] = {}
    for family in families:
        for index in range(count):
            seed = UNSEEN + 1000 + 100 * FAMILIES.index(family) + index
            picture = natural(seed, SIZE) if index % 3 == 2 else portrait(seed, SIZE)
            draw = sample_style(seed, family)
            truth, example = draw(picture, seed), draw(portrait(seed + 50, SIZE), seed + 50)
            content, style = invert(engine, picture), invert(engine, example)
            colour, texture = metrics.colour_distance(picture, truth), metrics.texture_distance(picture, truth)
            for strength in strengths:
                result = render(engine, content, style, replace(settings, strength=strength))
                collected.setdefault((family, strength), []).append(
                    (
                        metrics.colour_distance(result, truth) / colour,
                        metrics.texture_distance(result, truth) / texture,
                    )
                )
    return {key: tuple(np.mean(values, axis=0)) for key, values in collected.items()}


def identity(engine: StyleEngine) -> dict[str, float]:
    """PSNR in dB to the photograph when it is its own style, strength 1, structure 0."""
    settings, rows = FusionSettings(strength=1.0, structure=0.0), {}
    for name in ROUND_TRIP:
        picture = photograph(name)
        inverted = invert(engine, picture)
        rows[name] = metrics.psnr(render(engine, inverted, inverted, settings), picture)
    return rows


def seconds(engine: StyleEngine, repeats: int = 5) -> dict[str, float]:
    """Median seconds of inverting two pictures, a full render and a draft."""
    taken: dict[str, list[float]] = {"invert both": [], "render": [], "draft": []}
    for index in range(repeats):
        session = f"timing {index}"
        start = time.perf_counter()
        content, style = (
            engine.invert(Image.fromarray(picture), session=session)
            for picture in (photograph("astronaut"), style_picture("oil"))
        )
        taken["invert both"].append(time.perf_counter() - start)
        taken["render"].append(engine.stylize(content, style).seconds)
        taken["draft"].append(engine.stylize(content, style, draft=True).seconds)
        engine.forget(session)
    return {name: statistics.median(values) for name, values in taken.items()}


def contact_sheet(
    engine: StyleEngine, names: Iterable[str], families: Iterable[str], settings: FusionSettings
) -> Image.Image:
    """Photographs down the side, styles along the top, and what the model makes of them."""
    styles = [style_picture(family) for family in families]
    inverted = [invert(engine, style) for style in styles]
    rows = [np.hstack([np.full((SIZE, SIZE, 3), 255, np.uint8), *styles])]
    for name in names:
        picture = photograph(name)
        content = invert(engine, picture)
        rows.append(np.hstack([picture, *(render(engine, content, style, settings) for style in inverted)]))
    return Image.fromarray(np.vstack(rows))


def _table(title: str, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    names = list(header)
    print(f"### {title}\n\n| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for row in rows:
        print("| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row) + " |")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m magicstyle_core.mini.evaluate", description="Figures and a contact sheet of the embedded model."
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

    rows = stylisation(engine, PHOTOGRAPHS, families, STRENGTHS, settings)
    header = ("colour", "texture", "edges", "SSIM")
    _table(
        "Photographs at strength 1, by family",
        ("family", *header),
        ([family, *np.mean([rows[name, family, 1.0] for name in PHOTOGRAPHS], axis=0)] for family in families),
    )
    _table(
        "Photographs, all families, by strength",
        ("strength", *header),
        ([s, *np.mean([row for key, row in rows.items() if key[2] == s], axis=0)] for s in STRENGTHS),
    )

    truth = pairs(engine, families, arguments.pairs, PAIR_STRENGTHS, settings)
    best = {family: min(PAIR_STRENGTHS, key=lambda s: sum(truth[family, s])) for family in families}
    _table(
        f"Distance from the truth, {arguments.pairs * len(families)} procedural pairs",
        ("family", "colour at 1", "texture at 1", "best strength", "colour there", "texture there"),
        ([family, *truth[family, 1.0], best[family], *truth[family, best[family]]] for family in families),
    )
    _table("A picture as its own style", ("photograph", "PSNR dB"), identity(engine).items())
    _table("Seconds, 256 × 256, 20 steps", ("task", "median"), seconds(engine).items())
    if arguments.sheet:
        contact_sheet(engine, PHOTOGRAPHS, families, settings).save(arguments.sheet)


if __name__ == "__main__":
    main()
