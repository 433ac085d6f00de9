"""Many photographs in one style: what is asked for, checked before any work, and then each of them."""

from __future__ import annotations

import argparse
import errno
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps
from tqdm import tqdm

from magicstyle_core import __version__
from magicstyle_core.enlarge import enlarge, open_larger
from magicstyle_core.errors import ImageError, MagicStyleError, SettingsError
from magicstyle_core.grid import Grid, sheet
from magicstyle_core.images import side_by_side, with_alpha
from magicstyle_core.layers import choose_layers
from magicstyle_core.metadata import (
    FORMATS,
    Recipe,
    StyleUse,
    circumstances,
    encode_mask,
    read_settings,
    write_picture,
)
from magicstyle_core.regions import face_mask, fit_mask, open_mask
from magicstyle_core.settings import (
    NONE,
    RENAMED_PRESETS,
    TABLE,
    FusionSettings,
    InversionSettings,
    apply_preset,
    inversion_calls,
)

if TYPE_CHECKING:
    from magicstyle_core.bank import Inversion
    from magicstyle_core.engine import StyleEngine
    from magicstyle_core.images import Picture

REGIONS = ("face", "background")
EMPTY = Recipe(version=__version__, model="", settings=FusionSettings(), inversion=InversionSettings())


@dataclass(frozen=True)
class Order:
    """What is asked for, checked as far as it goes without a model."""

    outputs: dict[Path, Path]  # by photograph
    styles: list[tuple[Path, float]]
    style_masks: list[Image.Image | None] | None  # for each style; None = those of the saved recipe
    base: FusionSettings | None  # None = the model's own preset
    changes: dict[str, Any]  # to it: what a file of settings says, unless that is in the base, and the flags
    inversion: InversionSettings
    region: str | None
    mask: Image.Image | None
    saved: Recipe  # the file of settings, if there is one
    upsample: int  # times

    def mask_for(self, picture: Picture) -> Image.Image | None:
        """Mode "L", as large as the picture. Raises ImageError: no face for a region, or a mask of another shape."""
        mask = self.mask
        if self.region and not (mask and picture.digest == self.saved.content):
            mask = face_mask(picture.image)
            if mask is None:
                raise ImageError("No face was found in it; give --mask FILE, or leave --region out.")
            if self.region == "background":
                mask = ImageOps.invert(mask)
        return mask and fit_mask(mask, picture.image.size)


def take(arguments: argparse.Namespace) -> Order:
    """The order that the flags make. Raises MagicStyleError."""
    contents, styles = list(dict.fromkeys(arguments.contents)), list(arguments.style)
    if not styles:
        if len(arguments.contents) != 2:
            count = len(arguments.contents)
            raise SettingsError(f"Got {count} pictures and no style, expected --style FILE.")
        *contents, style = arguments.contents
        styles = [style]
    absent = [path for path in (*contents, *styles) if not path.is_file()]
    if absent and (absent[-1] in styles or len(absent) == len(contents)):  # else the other photographs can be made
        raise ImageError(f"There is no file {str(absent[-1])!r}; check the path.")
    if arguments.mask and arguments.region:
        raise SettingsError("Both --mask and --region are given; leave one of them out.")
    saved = read_settings(arguments.settings) if arguments.settings else EMPTY
    if saved.gone:
        say(saved.gone)
    base, said = None, saved.settings.model_dump(exclude_unset=True)
    if arguments.preset:
        base, said = apply_preset(arguments.preset, saved.settings), {}
        if arguments.preset in RENAMED_PRESETS:
            say(f"The preset {arguments.preset} is called {RENAMED_PRESETS[arguments.preset]} now.")
    given = {name: value for name, value in vars(arguments).items() if name in TABLE and value is not None}
    if "layers" in given:
        given["layers"] = sum(given["layers"], ())
    changes = said | {name: value for name, value in given.items() if name in FusionSettings.model_fields}
    (base or FusionSettings()).replace(**changes)
    region = None if arguments.mask else arguments.region or saved.region
    return Order(
        outputs=_outputs(contents, styles, arguments.output),
        styles=list(zip(styles, _weights(arguments.weight, saved, len(styles)), strict=True)),
        style_masks=_style_masks(arguments.style_mask, len(styles)),
        base=base,
        changes=changes,
        inversion=saved.inversion.replace(**{name: value for name, value in given.items() if name not in changes}),
        region=region if region in REGIONS else None,
        mask=open_mask(arguments.mask) if arguments.mask else None if arguments.region else saved.mask_image,
        saved=saved,
        upsample=vars(arguments).get("upsample") or saved.upsample,
    )


def _weights(given: list[float] | None, saved: Recipe, count: int) -> list[float]:
    if given is None:
        stored = [style.weight for style in saved.styles]
        return stored if len(stored) == count else [1.0] * count
    if len(given) != count or not all(0 < weight < math.inf for weight in given):
        text = " ".join(f"{weight:g}" for weight in given)
        raise SettingsError(f"--weight got {text}, expected {count}, one for each style, each above 0.")
    return given


def _style_masks(given: list[str] | None, count: int) -> list[Image.Image | None] | None:
    if given is not None and len(given) != count:
        raise SettingsError(f"--style-mask got {' '.join(given)}, expected {count}, one for each style.")
    return [None if path == NONE else open_mask(Path(path)) for path in given] if given is not None else None


def _outputs(contents: Sequence[Path], styles: Sequence[Path], output: Path) -> dict[Path, Path]:
    """Where each picture goes; a folder is made if need be."""
    if output.suffix.lower() in FORMATS and not output.is_dir():
        if len(contents) > 1:
            raise SettingsError(f"-o got {output.name} for {len(contents)} photographs, expected a folder.")
        folder, outputs = output.parent, {contents[0]: output}
    elif output.suffix and not output.is_dir() and len(contents) == 1:
        raise SettingsError(f"-o got {output.name}, expected a name with {', '.join(FORMATS)}, or a folder.")
    else:
        folder, outputs = output, {}
        for content in contents:
            names = (content.stem, *(f"{content.stem}-{number}" for number in range(2, len(contents) + 1)))
            free = (output / f"{name}.png" for name in names)
            outputs[content] = next(path for path in free if path not in outputs.values())
    overwritten = {path.resolve() for path in outputs.values()} & {path.resolve() for path in (*contents, *styles)}
    if overwritten:
        raise SettingsError(f"The result would overwrite {overwritten.pop().name}; choose another -o.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise SettingsError(
            f"Nothing can be written to {str(folder)!r} ({error.strerror}); choose another -o."
        ) from error
    return outputs


class Batch:
    """An order and the engine that carries it out. The styles are inverted once.

    Raises:
        SettingsError: the model lacks a layer, or takes fewer steps than the render.
    """

    def __init__(self, order: Order, engine: StyleEngine) -> None:
        self.order, self.engine, model = order, engine, engine.model
        self.settings = (order.base or engine.preset).replace(**order.changes)
        choose_layers(engine.layers(), self.settings.layers)
        steps, renders = order.inversion.steps or model.steps, self.settings.render_steps
        if renders is not None and renders > steps:
            raise SettingsError(f"render_steps got {renders}, expected at most the inversion's {steps}.")
        self.inversion = order.inversion.replace(steps=steps, size=order.inversion.size or model.size)
        each = inversion_calls(steps, model.corrections)
        self.calls = each * len(order.styles) + (each + (renders or steps)) * len(order.outputs)
        if order.saved.model not in ("", model.name):
            say(f"The settings were made with the model {order.saved.model}, this is {model.name}.")

    def stylize(self, show: Callable[[dict[str, Any]], None]) -> int:
        """Makes every picture that can be made, and shows a report of each.

        Returns:
            How many could not be made; why is said.

        Raises:
            MagicStyleError: a style cannot be used.
        """
        failed, outputs = 0, self.order.outputs
        with tqdm(total=self.calls, unit="call", disable=None, leave=False) as bar:
            styles = self._styles(bar)
            for content, output in outputs.items():
                try:
                    show(self._stylize_one(content, styles, output, bar))
                except MagicStyleError as error:
                    failed += 1
                    say(f"error: {content}: {error}" if len(outputs) > 1 else f"error: {error}")
                self.engine.forget("photographs")
        for message in self.engine.model.messages:
            say(message)
        return failed

    def _stylize_one(
        self, path: Path, styles: Sequence[tuple[Inversion, float]], output: Path, bar: tqdm[Any]
    ) -> dict[str, Any]:
        """Makes one picture and writes it; returns what was done. Raises MagicStyleError."""
        start, calls = time.perf_counter(), self.engine.model.unet_calls
        picture = self.engine.prepare(path, self.inversion.size)
        mask = self.order.mask_for(picture)
        content = self._invert(picture, "photographs", bar)
        inverted, inversion_calls = time.perf_counter(), self.engine.model.unet_calls - calls
        image, render_calls = None, 0
        for frame in self.engine.render(content, styles, self.settings, mask=mask):
            image, render_calls = frame.image, frame.unet_calls
            bar.update()
        rendered = time.perf_counter()
        assert image is not None
        image = self._enlarged(image, picture, path)
        recipe = Recipe(
            version=__version__,
            model=self.engine.model.name,
            settings=self.settings,
            inversion=self.inversion,
            content=picture.digest,
            styles=tuple(
                StyleUse(digest=style.picture.digest, weight=weight, mask=encode_mask(style.mask))
                for style, weight in styles
            ),
            region=self.order.region or ("mask" if mask else "everywhere"),
            mask=encode_mask(mask),
            upsample=self.order.upsample,
            **circumstances(self.engine, content, *(style for style, _ in styles)),
        )
        _save(image, output, recipe)
        return {
            "output": str(output),
            "size": list(image.size),
            "seconds": {"invert": round(inverted - start, 3), "render": round(rendered - inverted, 3)},
            "unet_calls": {"invert": inversion_calls, "render": render_calls},
            "bytes": self.engine.stats()["bytes"],
            **recipe.model_dump(mode="json"),
        }

    def _enlarged(self, image: Image.Image, picture: Picture, path: Path) -> Image.Image:
        """The result as large as it is asked for, transparent where the photograph is."""
        times, size = self.order.upsample, self.inversion.size
        assert size is not None  # the model's own, at least
        if times == 1:
            return with_alpha(image, picture)
        return enlarge(image, picture, open_larger(path, times, size, self.engine.model.multiple))

    def draw_grid(self, grid: Grid) -> int:
        """Makes every cell's picture of the first photograph, and the contact sheet; a failing cell says why.

        Returns:
            How many cells have no picture.

        Raises:
            MagicStyleError: a picture cannot be used.
        """
        ((content, output),) = self.order.outputs.items()
        picture = self.engine.prepare(content, self.inversion.size)
        mask = self.order.mask_for(picture)
        images: dict[tuple[int, int], Image.Image | Exception] = {}
        with tqdm(total=grid.total, unit="picture", disable=None, leave=False) as bar:
            styles = self._styles(None)
            inverted = self._invert(picture, "photographs", None)
            for cell in grid.cells(self.settings):
                try:
                    if cell.error is not None:
                        raise cell.error
                    result = self.engine.stylize(inverted, styles, cell.settings, mask=mask)
                    images[cell.row, cell.column] = result.image
                except MagicStyleError as error:
                    images[cell.row, cell.column] = error
                bar.update()
        _save(sheet(grid, images), output, None)
        return sum(isinstance(image, Exception) for image in images.values())

    def look(self, spot: tuple[float, float], group: str, way_down: float) -> int:
        """Draws the styles, side by side, with light on what a spot of the first photograph's result looked at.

        Args:
            spot, group, way_down: as `lens.look` takes them.

        Raises:
            MagicStyleError: a picture cannot be used, or FFA is off.
        """
        from magicstyle_core.lens import lit, look

        ((content, output),) = self.order.outputs.items()
        picture = self.engine.prepare(content, self.inversion.size)
        mask = self.order.mask_for(picture)
        with tqdm(total=self.calls, unit="call", disable=None, leave=False) as bar:
            styles = self._styles(bar)
            inverted = self._invert(picture, "photographs", bar)
            self.engine.stylize(inverted, styles, self.settings, mask=mask)
        maps = look(self.engine, inverted, styles, self.settings, spot, mask=mask, group=group, way_down=way_down)
        images = [lit(style.picture, paid) for (style, _), paid in zip(styles, maps, strict=True)]
        _save(side_by_side(images), output, None)
        return 0

    def _styles(self, bar: tqdm[Any] | None) -> list[tuple[Inversion, float]]:
        """Every style inverted, with its mask and its weight. Raises ImageError: a mask has another shape."""
        styles = []
        for number, (path, weight) in enumerate(self.order.styles):
            style = self._invert(path, "styles", bar)
            saved = {use.digest: use.mask_image for use in self.order.saved.styles}
            mask = self.order.style_masks[number] if self.order.style_masks else saved.get(style.picture.digest)
            styles.append((replace(style, mask=mask and fit_mask(mask, style.picture.image.size)), weight))
        return styles

    def _invert(self, source: Path | Picture, session: str, bar: tqdm[Any] | None) -> Inversion:
        """Each model call moves the bar."""
        steps = self.engine.inverting(source, self.inversion, session=session)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                inversion: Inversion = stop.value
                return inversion
            if bar is not None:
                bar.update()


def _save(image: Image.Image, output: Path, recipe: Recipe | None) -> None:
    try:
        write_picture(image, output, recipe)
    except OSError as error:
        raise SettingsError(f"{str(output)!r} cannot be written ({error.strerror or error}).") from error


def say(message: str) -> None:
    """A line for the person at the terminal, past the progress bar."""
    tqdm.write(message, file=sys.stderr)
