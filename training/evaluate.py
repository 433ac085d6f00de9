"""What the embedded model can do, in figures and in a contact sheet.

    python -m training.evaluate --data FOLDER --sheet sheet.png > figures.md
    python -m training.evaluate --data FOLDER --blind FOLDER        shuffled results and a key, for guessing the styles

Photographs that nothing was trained on, in the style pictures that come with the project (trained on) and in paintings
that were held out. `finish` is off: what is measured is the model's. Every figure stands in three columns: with FFA,
without FFA, and without any output of the UNet (its noise estimate replaced by the content's stored one). Style and
texture are relative to the photograph's own distance: 1 is "nothing happened".
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
import torch
from PIL import Image, ImageOps

from magicstyle_core import InversionSettings, StyleEngine
from magicstyle_core.bank import Inversion
from magicstyle_core.method import render
from magicstyle_core.pixels import to_image, to_tensor
from magicstyle_core.plan import plan
from magicstyle_core.regions import face_mask
from training import metrics
from training.data import EXAMPLES, HELD_OUT
from training.judge import lattice

SIZE = 256
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
SHARES = (0.3, 0.5)  # of the style's latents in a cross-fade
FOUND = 0.6  # of a face's area is the same place
COLUMNS = ("FFA", "FFA off", "no UNet output")
WITH_PALETTE = {"palette": "both"}  # beside the model's own preset, which is FFA alone


@dataclass(frozen=True)
class Subject:
    """A picture and its inversion."""

    name: str
    pixels: np.ndarray  # uint8 (SIZE, SIZE, 3)
    inversion: Inversion


class Evaluation:
    """An engine, its photographs and its styles."""

    def __init__(self, engine: StyleEngine, data: Path) -> None:
        self.engine = engine
        self.settings = engine.preset.replace(detail=0.0)
        self.photographs = [
            self._subject(name, Image.fromarray(getattr(skimage.data, name)()))
            for name in ("astronaut", "chelsea", "coffee")
        ]
        self.trained = [
            self._subject(path.stem.removeprefix("style_"), Image.open(path))
            for path in sorted(EXAMPLES.glob("style_*.webp"))
        ]
        paintings = np.load(data / "held_out.npy")
        self.held_out = [
            self._subject(name, Image.fromarray(pixels)) for name, pixels in zip(HELD_OUT, paintings, strict=True)
        ]
        self.trips = {subject.name: self.round_trip(subject) for subject in self.photographs}

    def _subject(self, name: str, image: Image.Image) -> Subject:
        square = ImageOps.fit(image.convert("RGB"), (SIZE, SIZE), Image.Resampling.LANCZOS)
        return Subject(name, np.asarray(square), self.engine.invert(square, InversionSettings(size=SIZE)))

    @property
    def styles(self) -> list[Subject]:
        return self.trained + self.held_out

    def round_trip(self, subject: Subject) -> np.ndarray:
        return np.asarray(self.engine.decode(subject.inversion))

    def with_ffa(self, content: Subject, style: Subject, **changes: Any) -> np.ndarray:
        settings = self.settings.replace(**changes)
        return np.asarray(self.engine.stylize(content.inversion, style.inversion, settings).image)

    def without_ffa(self, content: Subject, style: Subject, **changes: Any) -> np.ndarray:
        return self.with_ffa(content, style, **{**changes, "layers": ()})

    def without_unet(self, content: Subject, style: Subject, **changes: Any) -> np.ndarray:
        """The method with the content's stored noise instead of the UNet's output; the palette acts as ever."""
        settings = self.settings.replace(**changes)
        model, trajectory = self.engine.model, content.inversion.trajectory.to(self.engine.model.device)
        schedule = model.schedule(content.inversion.steps)
        strength = trajectory.latents[0].new_ones(1, 1, *trajectory.latents.shape[-2:])
        for step in render(
            lambda _, timestep: trajectory.noise[schedule.timesteps.index(timestep)], trajectory, schedule,
            range(len(schedule.timesteps) - 1, -1, -1), lambda _: nullcontext(), strength=strength,
            styles=[(style.inversion.trajectory.to(model.device), 1.0)],
            palette=settings.palette, colour=settings.colour,
        ):  # fmt: skip
            latents = step.latents
        return np.asarray(self.engine.picture(plan(model, content.inversion, style.inversion, settings), latents))

    def cross_fade(self, content: Subject, style: Subject, share: float) -> np.ndarray:
        """Both pictures seen through each other: what style and texture are worth where nothing is painted at all."""
        first, second = (subject.inversion.trajectory.latents[0] for subject in (content, style))
        latents = torch.lerp(first, second, share).to(self.engine.model.device)
        return np.asarray(to_image(self.engine.model.decode(latents).cpu()))

    def figures(self, result: np.ndarray, content: Subject, style: Subject) -> tuple[float, float, float]:
        """Style, texture and content."""
        return (
            metrics.style_distance(result, style.pixels) / metrics.style_distance(content.pixels, style.pixels),
            metrics.texture_distance(result, style.pixels) / metrics.texture_distance(content.pixels, style.pixels),
            metrics.content_distance(result, self.trips[content.name]),
        )

    def three_columns(self, styles: Iterable[Subject], **changes: Any) -> np.ndarray:
        """Mean style, texture and content of all photographs in these styles, (3 figures, 3 columns)."""
        pairs = [(content, style) for style in styles for content in self.photographs]
        draws = (self.with_ffa, self.without_ffa, self.without_unet)
        rows = [[self.figures(draw(*pair, **changes), *pair) for pair in pairs] for draw in draws]
        return np.mean(rows, axis=1).T

    def nearest(self, draw: Callable[..., np.ndarray]) -> list[float]:
        """How often the style nearest to a result by texture is its own, and the result nearest to a style.

        The latter of one photograph's results: where they are alike in general, some style is nearest to them all.
        """
        hits = []
        for content in self.photographs:
            results = [draw(content, style) for style in self.styles]
            distances = np.array([[metrics.texture_distance(r, s.pixels) for s in self.styles] for r in results])
            hits.append([(distances.argmin(axis) == np.arange(len(results))).mean() for axis in (1, 0)])
        return np.mean(hits, axis=0).tolist()

    def face_overlap(self, style: Subject, faces: float) -> float:
        """Intersection over union of the first photograph's face as found in it and in the result; 0 = not found."""
        content = self.photographs[0]
        before, after = (
            face_mask(Image.fromarray(pixels))
            for pixels in (content.pixels, self.with_ffa(content, style, faces=faces))
        )
        if before is None or after is None:
            return 0.0
        inside = [np.asarray(mask) > 127 for mask in (before, after)]
        return float(np.logical_and(*inside).sum() / np.logical_or(*inside).sum())

    def lattices(self) -> list[float]:
        """How far 8 pixel squares show, on average: photographs, their round trips, held-out paintings, results."""
        results = [self.with_ffa(content, style) for content in self.photographs for style in self.held_out]
        groups = (
            [subject.pixels for subject in self.photographs],
            list(self.trips.values()),
            [subject.pixels for subject in self.held_out],
            results,
        )
        return [lattice(to_tensor(np.stack(pictures))).mean().item() for pictures in groups]

    def sheet(self) -> Image.Image:
        """Styles along the top, photographs down the side."""
        rows = [[np.full((SIZE, SIZE, 3), 255, np.uint8), *(style.pixels for style in self.styles)]]
        for content in self.photographs:
            rows.append([content.pixels, *(self.with_ffa(content, style) for style in self.styles)])
        return Image.fromarray(np.vstack([np.hstack(row) for row in rows]))

    def blind(self, folder: Path) -> None:
        """Results in random order as 01.png …, the styles as style_NAME.png, and key.txt."""
        folder.mkdir(parents=True, exist_ok=True)
        for style in self.styles:
            Image.fromarray(style.pixels).save(folder / f"style_{style.name}.png")
        pairs = [(content, style) for content in self.photographs for style in self.styles]
        order, key = np.random.default_rng().permutation(len(pairs)), []
        for number, place in enumerate(order, start=1):
            content, style = pairs[place]
            Image.fromarray(self.with_ffa(content, style)).save(folder / f"{number:03}.png")
            key.append(f"{number:03} {content.name} {style.name}")
        (folder / "key.txt").write_text("\n".join(key) + "\n")


def _table(title: str, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    names = list(header)
    print(f"### {title}\n\n| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for row in rows:
        print("| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row) + " |")
    print(flush=True)


def report(evaluation: Evaluation) -> None:
    """Prints every table of the model's card."""
    names = ("style", "texture", "content")
    for how, changes in (("as delivered, FFA alone", {}), ("with the palette, too", WITH_PALETTE)):
        for title, styles in (("held-out paintings", evaluation.held_out), ("bundled styles", evaluation.trained)):
            means = evaluation.three_columns(styles, **changes)
            rows = ([name, *map(float, row)] for name, row in zip(names, means, strict=True))
            _table(f"Held-out photographs × {title}, {how}", ("", *COLUMNS), rows)
    by_strength = []
    for strength in STRENGTHS:
        values = [
            evaluation.figures(evaluation.with_ffa(content, style, strength=strength), content, style)
            for content in evaluation.photographs
            for style in evaluation.held_out
        ]
        by_strength.append([strength, *map(float, np.mean(values, axis=0))])
    _table("By strength, held-out paintings", ("strength", *names), by_strength)
    faded = []
    for share in SHARES:
        values = [
            evaluation.figures(evaluation.cross_fade(content, style, share), content, style)
            for content in evaluation.photographs
            for style in evaluation.held_out
        ]
        faded.append([share, *map(float, np.mean(values, axis=0))])
    _table("A cross-fade of latents in place of the method, held-out paintings", ("share of the style", *names), faded)
    draws = (evaluation.with_ffa, evaluation.without_ffa, evaluation.without_unet)
    _table(
        f"Nearest of {len(evaluation.styles)} by texture",
        ("", *COLUMNS),
        [
            [name, *values]
            for name, *values in zip(
                ("of all styles to a result, its own", "of a photograph's results to a style, its own"),
                *(evaluation.nearest(draw) for draw in draws),
                strict=True,
            )
        ],
    )
    _table(
        "dB",
        ("photograph", "round trip", "without residual", "as its own style"),
        (
            [
                subject.name,
                metrics.psnr(evaluation.trips[subject.name], subject.pixels),
                metrics.psnr(
                    evaluation.with_ffa(subject, subject, layers=(), residual=0.0, palette="off"), subject.pixels
                ),
                metrics.psnr(evaluation.with_ffa(subject, subject), subject.pixels),
            ]
            for subject in evaluation.photographs
        ),
    )
    _table("Lattice", ("photographs", "their round trips", "held-out paintings", "results"), [evaluation.lattices()])
    by_faces = {
        faces: [evaluation.face_overlap(style, faces) for style in evaluation.styles]
        for faces in (evaluation.settings.faces, 1.0)
    }
    _table(
        "The astronaut's face, found again",
        ("`faces`", "styles", f"with an overlap of {FOUND} or more", "least overlap"),
        [[faces, len(o), sum(overlap >= FOUND for overlap in o), min(o)] for faces, o in by_faces.items()],
    )
    pairs = [(content, style) for content in evaluation.photographs for style in evaluation.held_out]
    kept = [[(*pair, draw(*pair, colour=0.0)) for pair in pairs] for draw in draws]  # columns
    away = [[metrics.palette_difference(result, content.pixels) for content, _, result in column] for column in kept]
    texture = [[evaluation.figures(result, content, style)[1] for content, style, result in column] for column in kept]
    _table(
        "Colour 0, held-out paintings",
        ("", *COLUMNS),
        [
            [name, *np.mean(values, axis=1).tolist()]
            for name, values in (("ΔE of the palette to the photograph", away), ("texture", texture))
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description="Figures and a contact sheet of the embedded model."
    )
    parser.add_argument("--model", default="mini", help="mini, or a folder in diffusers layout")
    parser.add_argument("--data", type=Path, required=True, help="folder of training.data, for the held-out paintings")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet here")
    parser.add_argument("--blind", type=Path, help="write shuffled results and their key here, and no figures")
    arguments = parser.parse_args()
    evaluation = Evaluation(StyleEngine.load(arguments.model), arguments.data)
    if arguments.blind:
        evaluation.blind(arguments.blind)
        return
    if arguments.sheet:
        evaluation.sheet().save(arguments.sheet)
    report(evaluation)


if __name__ == "__main__":
    main()
