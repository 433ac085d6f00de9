"""Parameter grids: values from text, the settings of every cell, and the labelled contact sheet."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from magicstyle_core.errors import SettingsError
from magicstyle_core.settings import NONE, TABLE, FusionSettings, Setting

MAX_CELLS = 64  # 8 × 8: below 500 pixels a cell on the largest sheet, and an end for what one job may cost
MAX_SHEET_SIDE = 4096  # pixels, the largest texture of many phones; cells are scaled down to stay below

AXES = tuple(FusionSettings.model_fields)
LABELS = {name: TABLE[name].label for name in AXES}

_RANGE = re.compile(r"(?P<first>\d*\.?\d+)\s*[-–—]\s*(?P<last>\d*\.?\d+)\s*\[(?P<count>\d+)\]")

PAPER, INK = (250, 249, 246), (40, 38, 36)
MISSING, FAILED, FAILED_INK = (205, 204, 200), (246, 222, 216), (126, 32, 20)
GAP = 6  # pixels between cells
EMPTY_CELL = (256, 256)  # width and height of a cell while there is no picture


def parse_values(name: str, text: str) -> list[Any]:
    """The values of one axis, in the order given and each once.

    Args:
        name: one of AXES.
        text: values separated by commas. A number may also be a range with a count, `0–1 [5]`, for so many evenly
            spread values. Several layers for one cell are joined with a plus: `up_blocks.2+up_blocks.3`.

    Returns:
        Values as FusionSettings takes them for this name.

    Raises:
        SettingsError: the name is no axis, the text cannot be read, or a value is out of range.
    """
    setting = _axis(name)
    values: dict[Any, None] = {}  # in order, each once
    for item in filter(None, map(str.strip, text.split(","))):
        spread = _RANGE.fullmatch(item) if setting.low is not None else None
        found = _spread(setting, spread) if spread else [item]
        values |= dict.fromkeys(setting.parse(str(value)) for value in found)
    if not values:
        raise SettingsError(f"{name} got no values, expected {_example(setting)}.")
    return list(values)


def _axis(name: str) -> Setting:
    if name not in AXES:
        raise SettingsError(f"The axis of a grid got {name!r}, expected one of {', '.join(AXES)}.")
    return TABLE[name]


def _spread(setting: Setting, spread: re.Match[str]) -> list[Any]:
    first, last, count = float(spread["first"]), float(spread["last"]), int(spread["count"])
    if not 2 <= count <= MAX_CELLS:
        raise SettingsError(f"The range of {setting.name} got {count} values, expected 2 to {MAX_CELLS}.")
    numbers = [round(first + (last - first) * i / (count - 1), 4) for i in range(count)]
    return [round(number) for number in numbers] if setting.kind == "whole" else numbers


def _example(setting: Setting) -> str:
    if setting.kind == "choice":
        return f"'{', '.join(setting.choices)}'"
    if setting.kind == "layers":
        return "'none, up.fine, up.fine+mid, all'"
    return "a list such as '10, 20' or a range '10–40 [4]'" if setting.kind == "whole" else "'0, 0.5, 1' or '0–1 [5]'"


@dataclass(frozen=True)
class Cell:
    """One picture of a grid: settings, or the error that says why this combination has none."""

    row: int
    column: int
    settings: FusionSettings | None
    error: SettingsError | None = None


@dataclass(frozen=True)
class Grid:
    """One or two settings with their values: x across, y down.

    Raises:
        SettingsError: an axis is unknown or has no values, both are the same, or there are more than MAX_CELLS cells.
    """

    x_name: str
    x_values: tuple[Any, ...]
    y_name: str | None = None
    y_values: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "x_values", tuple(self.x_values))
        object.__setattr__(self, "y_values", tuple(self.y_values) if self.y_name is not None else ())
        if self.x_name == self.y_name:
            raise SettingsError(f"Both axes are {self.x_name}; choose another one for the second axis.")
        axes = [(self.x_name, self.x_values)]
        if self.y_name is not None:
            axes.append((self.y_name, self.y_values))
        for name, values in axes:
            setting = _axis(name)
            if not values:
                raise SettingsError(f"{name} got no values, expected {_example(setting)}.")
        if self.total > MAX_CELLS:
            raise SettingsError(
                f"The grid has {self.columns} × {self.rows} = {self.total} cells, the limit is {MAX_CELLS}; "
                "give fewer values."
            )

    @property
    def columns(self) -> int:
        return len(self.x_values)

    @property
    def rows(self) -> int:
        return len(self.y_values) if self.y_name is not None else 1

    @property
    def total(self) -> int:
        return self.rows * self.columns

    def cells(self, settings: FusionSettings) -> list[Cell]:
        """Every cell, row by row: `settings` with the values of its row and column.

        A combination that is not allowed, such as start after end, is a cell with an error.
        """
        cells = []
        for row in range(self.rows):
            for column, x_value in enumerate(self.x_values):
                changes = {self.x_name: x_value}
                if self.y_name is not None:
                    changes[self.y_name] = self.y_values[row]
                try:
                    cells.append(Cell(row, column, settings.replace(**changes)))
                except SettingsError as error:
                    cells.append(Cell(row, column, None, error))
        return cells


@dataclass(frozen=True)
class SheetLayout:
    """Where the cells of a contact sheet lie, in pixels of the sheet."""

    left: int  # of the first cell
    top: int
    cell_width: int
    cell_height: int
    font_size: int

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of a cell."""
        x = self.left + column * (self.cell_width + GAP)
        y = self.top + row * (self.cell_height + GAP)
        return x, y, x + self.cell_width, y + self.cell_height


def sheet_layout(grid: Grid, images: Mapping[tuple[int, int], Image.Image | Exception]) -> SheetLayout:
    """The layout of `sheet` for the same arguments: cells as large as the largest picture, if the sheet stays small."""
    sizes = [image.size for image in images.values() if isinstance(image, Image.Image)] or [EMPTY_CELL]
    width, height = max(w for w, _ in sizes), max(h for _, h in sizes)
    room = MAX_SHEET_SIDE * 0.9  # the rest holds labels and gaps
    scale = min(1, room / (grid.columns * width), room / (grid.rows * height))
    cell_width, cell_height = max(1, int(width * scale)), max(1, int(height * scale))
    font_size = min(max(cell_height // 14, 12), 28)
    left = GAP
    if grid.y_name is not None:
        font = ImageFont.load_default(size=font_size)
        longest = max(font.getlength(value_text(value)) for value in grid.y_values)
        left = int(2 * font_size + min(longest, cell_width) + 2 * GAP)
    return SheetLayout(left, 3 * font_size + GAP, cell_width, cell_height, font_size)


def sheet(
    grid: Grid, images: Mapping[tuple[int, int], Image.Image | Exception], labels: Mapping[str, str] = LABELS
) -> Image.Image:
    """A contact sheet with the axes' names and values along its edges.

    Args:
        images: by (row, column): the picture, or the error that came instead. Cells without an entry stay grey.
        labels: of the settings.

    Returns:
        RGB, with sides of at most MAX_SHEET_SIDE pixels.
    """
    layout = sheet_layout(grid, images)
    font = ImageFont.load_default(size=layout.font_size)
    _, _, right, bottom = layout.box(grid.rows - 1, grid.columns - 1)
    picture = Image.new("RGB", (right + GAP, bottom + GAP), PAPER)
    draw = ImageDraw.Draw(picture)

    draw.text(((layout.left + right) / 2, layout.font_size * 0.9), labels[grid.x_name], INK, font, anchor="mm")
    for column, value in enumerate(grid.x_values):
        x, y, _, _ = layout.box(0, column)
        text = _shortened(value_text(value), font, layout.cell_width)
        draw.text((x + layout.cell_width / 2, y - layout.font_size * 0.8), text, INK, font, anchor="mm")
    if grid.y_name is not None:
        name = Image.new("RGB", (bottom - layout.top, 2 * layout.font_size), PAPER)
        ImageDraw.Draw(name).text((name.width / 2, name.height / 2), labels[grid.y_name], INK, font, anchor="mm")
        picture.paste(name.rotate(90, expand=True), (0, layout.top))
        for row, value in enumerate(grid.y_values):
            x, y, _, _ = layout.box(row, 0)
            text = _shortened(value_text(value), font, layout.cell_width)
            draw.text((x - GAP, y + layout.cell_height / 2), text, INK, font, anchor="rm")

    for row in range(grid.rows):
        for column in range(grid.columns):
            box = layout.box(row, column)
            content = images.get((row, column))
            if isinstance(content, Image.Image):
                size = layout.cell_width, layout.cell_height
                picture.paste(ImageOps.pad(content.convert("RGB"), size, color=PAPER), box)
            elif content is None:
                picture.paste(MISSING, box)
            else:
                picture.paste(FAILED, box)
                _write_error(draw, layout, box, str(content) or type(content).__name__)
    return picture


def cell_at(grid: Grid, layout: SheetLayout, x: float, y: float) -> tuple[int, int] | None:
    """Row and column of the cell at a pixel of the sheet, or None for labels and gaps."""
    column, across = divmod(x - layout.left, layout.cell_width + GAP)
    row, down = divmod(y - layout.top, layout.cell_height + GAP)
    inside = 0 <= row < grid.rows and 0 <= column < grid.columns
    if not inside or across >= layout.cell_width or down >= layout.cell_height:
        return None
    return int(row), int(column)


def value_text(value: Any) -> str:
    """A value of an axis, as people write it."""
    if isinstance(value, tuple):
        return " + ".join(value) or NONE
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _shortened(text: str, font: Any, width: float) -> str:
    """The text, cut at its end so that it is at most so many pixels wide."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def _write_error(draw: ImageDraw.ImageDraw, layout: SheetLayout, box: tuple[int, int, int, int], message: str) -> None:
    size = max(10, layout.font_size * 3 // 4)
    font = ImageFont.load_default(size=size)
    left, top, right, bottom = box
    letters = max(1, int((right - left - 2 * GAP) / font.getlength("n")))
    lines = max(1, (bottom - top - 2 * GAP) // (size + 4))
    text = "\n".join(textwrap.wrap(message, letters, max_lines=lines, placeholder=" …"))
    draw.multiline_text(((left + right) / 2, (top + bottom) / 2), text, FAILED_INK, font, anchor="mm", align="center")
