"""Parameter grids: values, cells, and the contact sheet."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from magicstyle_core.errors import SettingsError
from magicstyle_core.grid import (
    FAILED,
    MAX_CELLS,
    MAX_SHEET_SIDE,
    MISSING,
    Grid,
    cell_at,
    parse_values,
    sheet,
    sheet_layout,
)
from magicstyle_core.settings import TABLE, FusionSettings


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("strength", "0, 0.5, 1", [0, 0.5, 1]),
        ("strength", " .5 ,1,, 1.0 ", [0.5, 1]),
        ("structure", "0–1 [5]", [0, 0.25, 0.5, 0.75, 1]),
        ("colour", "0-1 [5]", [0, 0.25, 0.5, 0.75, 1]),
        ("end", "1 - 0.4 [3]", [1, 0.7, 0.4]),
        ("temperature", "1, 2-3 [3]", [1, 2, 2.5, 3]),
        ("start", "0-0.3 [4]", [0, 0.1, 0.2, 0.3]),
        ("render_steps", "10–20 [3]", [10, 15, 20]),
        ("render_steps", "2-4 [9]", [2, 3, 4]),
        ("seed", "none, 0, 7", [None, 0, 7]),
        ("fusion", "Blend, joint", ["blend", "joint"]),
        ("palette", "both, adain", ["both", "adain"]),
        ("layers", "none, up.fine", [(), ("up.fine",)]),
        ("layers", "all, up_blocks.2 + up_blocks.3", [("all",), ("up_blocks.2", "up_blocks.3")]),
    ],
)
def test_values_are_read(name: str, text: str, expected: list[Any]) -> None:
    assert parse_values(name, text) == expected


@pytest.mark.parametrize("name", FusionSettings.model_fields)
def test_every_setting_of_a_render_can_be_an_axis(name: str) -> None:
    setting = TABLE[name]
    default = "up.fine" if setting.kind == "layers" else str(setting.default)
    (value,) = parse_values(name, default)
    assert value == setting.default
    assert sheet(Grid(name, (value,)), {}).width > 0


def test_the_grid_needs_no_torch() -> None:
    blocked = "import sys; sys.modules['torch'] = None; import magicstyle_core.grid"
    subprocess.run([sys.executable, "-c", blocked], check=True)


def test_whole_numbers_stay_whole() -> None:
    assert all(type(value) is int for value in parse_values("render_steps", "10–20 [3]"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("strength", "0, much", "strength got 'much', expected a number from 0 to 1.5."),
        ("render_steps", "10, 2.5", "render_steps got '2.5', expected a whole number from 1 to 200, or none."),
        ("strength", "0, 2", "strength got 2.0, expected a number from 0 to 1.5."),
        ("strength", "0–3 [4]", "strength got 2.0, expected a number from 0 to 1.5."),
        ("strength", "nan", "strength got nan, expected a number"),
        ("seed", "-1", "seed got -1, expected a whole number from 0 to"),
        ("render_steps", "0", "render_steps got 0, expected a whole number from 1"),
        ("fusion", "mix", "fusion got 'mix', expected 'blend' or 'joint'."),
        ("structure", " , ", "structure got no values, expected '0, 0.5, 1' or '0–1 [5]'."),
        ("fusion", "", "fusion got no values, expected 'blend, joint'."),
        ("structure", "0-1 [1]", "The range of structure got 1 values, expected 2 to 64."),
        ("structure", "0-1 [99999999]", "got 99999999 values"),
        ("size", "64", "The axis of a grid got 'size', expected one of strength, "),
    ],
)
def test_values_that_cannot_be_used_are_explained(name: str, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse_values(name, text)
    assert message in str(error.value)


def test_cells_come_row_by_row_with_their_settings() -> None:
    grid = Grid("strength", (0.0, 1.0, 1.5), "structure", (0.2, 0.8))

    cells = grid.cells(FusionSettings(colour=0.1))

    assert grid.total == len(cells) == 6
    assert [(cell.row, cell.column) for cell in cells] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert cells[5].settings == FusionSettings(strength=1.5, structure=0.8, colour=0.1)
    assert cells[1].settings == FusionSettings(strength=1.0, structure=0.2, colour=0.1)


def test_one_axis_is_one_row() -> None:
    grid = Grid("seed", tuple(parse_values("seed", "1, 2")))

    assert [cell.settings for cell in grid.cells(FusionSettings())] == [FusionSettings(seed=1), FusionSettings(seed=2)]


def test_a_combination_that_is_not_allowed_fails_alone() -> None:
    cells = Grid("start", (0.0, 0.6), "end", (0.5, 1.0)).cells(FusionSettings())

    assert [cell.settings is None for cell in cells] == [False, True, False, False]
    assert "start (0.6) lies after end (0.5)" in str(cells[1].error)


def test_axes_that_move_together_may_pass_the_base_settings() -> None:
    (cell,) = Grid("start", (0.6,), "end", (0.9,)).cells(FusionSettings(start=0.1, end=0.5))

    assert cell.settings == FusionSettings(start=0.6, end=0.9)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (("strength", range(13), "seed", range(5)), f"13 × 5 = 65 cells, the limit is {MAX_CELLS}"),
        (("strength", (1,), "strength", (0,)), "Both axes are strength"),
        (("strength", ()), "strength got no values"),
        (("strength", (1,), "seed", ()), "seed got no values"),
        (("size", (64,)), "got 'size', expected one of strength, "),
    ],
)
def test_a_grid_that_cannot_be_made_is_explained(axes: tuple[Any, ...], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        Grid(*axes)
    assert message in str(error.value)


def test_the_largest_grid_is_allowed() -> None:
    assert Grid("strength", tuple(range(8)), "seed", tuple(range(8))).total == MAX_CELLS


def _colours(picture: Image.Image) -> int:
    return len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0))


def _centre(grid: Grid, images: dict[tuple[int, int], Any], row: int, column: int) -> tuple[int, int]:
    left, top, right, bottom = sheet_layout(grid, images).box(row, column)
    return (left + right) // 2, (top + bottom) // 2


def test_the_sheet_shows_pictures_gaps_and_failures() -> None:
    grid = Grid("strength", (0.0, 1.0), "structure", (0.2, 0.8))
    images: dict[tuple[int, int], Image.Image | Exception] = {
        (0, 0): Image.new("RGB", (120, 160), "red"),
        (0, 1): Image.new("L", (120, 160), 30),
        (1, 0): SettingsError("start lies after end; make start the smaller one."),
    }

    picture = sheet(grid, images)

    assert picture.getpixel(_centre(grid, images, 0, 0)) == (255, 0, 0)
    assert picture.getpixel(_centre(grid, images, 0, 1)) == (30, 30, 30)
    assert picture.getpixel(_centre(grid, images, 1, 1)) == MISSING
    left, top, right, bottom = sheet_layout(grid, images).box(1, 0)
    failed = picture.crop((left, top, right, bottom))
    assert failed.getpixel((2, 2)) == FAILED
    assert _colours(failed) > 2  # something is written on it


def test_the_edges_carry_labels() -> None:
    grid = Grid("strength", (0.0, 1.0), "layers", (("all",), ("up_blocks.2", "up_blocks.3")))

    picture = sheet(grid, {})
    layout = sheet_layout(grid, {})

    for row in (0, 1):
        _, top, _, bottom = layout.box(row, 0)
        assert _colours(picture.crop((0, top, layout.left, bottom))) > 2
    for column in (0, 1):
        left, _, right, _ = layout.box(0, column)
        assert _colours(picture.crop((left, 0, right, layout.top))) > 2


@pytest.mark.parametrize("size", [(2048, 1024), (200, 2048)])
def test_the_sheet_stays_below_its_largest_size(size: tuple[int, int]) -> None:
    grid = Grid("strength", tuple(range(8)), "layers", tuple((f"a_layer_with_a_long_name_{i}",) for i in range(8)))

    picture = sheet(grid, {(3, 3): Image.new("RGB", size, "red")})

    assert max(picture.size) <= MAX_SHEET_SIDE
    layout = sheet_layout(grid, {(3, 3): Image.new("RGB", size)})
    assert layout.cell_width / layout.cell_height == pytest.approx(size[0] / size[1], rel=0.02)


def test_a_click_finds_its_cell() -> None:
    grid = Grid("strength", (0.0, 1.0, 1.5), "structure", (0.2, 0.8))
    layout = sheet_layout(grid, {})

    for row in range(2):
        for column in range(3):
            left, top, right, bottom = layout.box(row, column)
            assert cell_at(grid, layout, left, top) == (row, column)
            assert cell_at(grid, layout, right - 1, bottom - 1) == (row, column)
            assert cell_at(grid, layout, right + 1, top) is None
            assert cell_at(grid, layout, left, bottom + 1) is None
    assert cell_at(grid, layout, 1, 1) is None
