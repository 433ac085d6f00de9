"""The parameter grid: announced first, then filled cell by cell from one inversion."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import gradio as gr
from PIL import Image

from magicstyle_core import MagicStyleError
from magicstyle_core.grid import Cell, Grid, SheetLayout, cell_at, parse_values, sheet, sheet_layout
from magicstyle_core.ui import texts
from magicstyle_core.ui.handlers import Studio, explained
from magicstyle_core.ui.job import Job, Worker
from magicstyle_core.ui.layout import GRID_NAMES, NO_SECOND
from magicstyle_core.ui.session import Session
from magicstyle_core.ui.shelf import Data, Updates
from magicstyle_core.ui.work import Update

Images = dict[tuple[int, int], Image.Image | Exception]


@dataclass(frozen=True)
class FilledGrid:
    """A contact sheet on the page, for clicks on it."""

    grid: Grid
    layout: SheetLayout
    base: Job


def make_grid(x_name: str, x_values: str, y_name: str | None, y_values: str) -> Grid:
    """A grid from what people write. Raises SettingsError."""
    rows = parse_values(y_name, y_values) if y_name else []
    return Grid(x_name, tuple(parse_values(x_name, x_values)), y_name, tuple(rows))


def cells_of(grid: Grid, base: Job) -> list[Cell]:
    """The cells around a job's settings, its steps included."""
    return grid.cells(base.settings.replace(render_steps=base.steps))


def cell_job(base: Job, cell: Cell) -> Job:
    """The job of one cell. Raises the cell's SettingsError when it has one."""
    if cell.settings is None or cell.settings.render_steps is None:
        raise cell.error or AssertionError("cells are made with steps")
    return replace(base, settings=cell.settings.replace(render_steps=None), steps=cell.settings.render_steps)


def fill(
    worker: Worker, session: Session, grid: Grid, base: Job, images: Images
) -> Generator[Update | None, None, int]:
    """Render cell by cell into `images`, a failed cell as its error. Between cells other visitors have their turn.

    Yields progress, and None when a cell is done. Returns the UNet calls made.
    """
    cells = cells_of(grid, base)
    deepest = max([cell.settings.render_steps or 0 for cell in cells if cell.settings], default=base.steps)
    inverted = yield from worker.invert_all(session, replace(base, steps=deepest))
    calls = inverted.inversion_calls
    for number, cell in enumerate(cells, 1):
        try:
            work = worker.run(session, cell_job(base, cell), live=False)
            while True:
                try:
                    update = next(work)
                except StopIteration as stop:
                    images[cell.row, cell.column] = stop.value.image
                    calls += stop.value.inversion_calls + stop.value.render_calls
                    break
                yield replace(update, phase=f"Picture {number} of {len(cells)}", image=None)
        except MagicStyleError as error:
            images[cell.row, cell.column] = error
        yield None
    return calls


class Grids:
    """Handlers of the parameter grid."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.page = studio.page

    def plan(self, data: Data, request: gr.Request) -> Updates:
        """How much work the grid will be, or what is wrong with its values. Not queued."""
        try:
            grid = self._grid(data)
        except MagicStyleError as error:
            return {self.page.grid_plan: texts.message(str(error))}
        history = self.studio.session(request).history
        timed = [entry.result for entry in history if entry.result.render_calls]
        seconds_per_call = timed[-1].seconds / timed[-1].render_calls if timed else None
        steps_axis = (
            grid.x_values if grid.x_name == "render_steps" else grid.y_values if grid.y_name == "render_steps" else None
        )
        calls = grid.total * int(data[self.page.steps])
        if steps_axis is not None:
            calls = sum(steps_axis) * grid.total // len(steps_axis)
        return {self.page.grid_plan: texts.grid_plan(grid.total, calls, seconds_per_call)}

    @explained
    def run(self, data: Data, request: gr.Request) -> Iterator[Updates]:
        """Fill the grid until a newer wish comes. A failed cell is shown as such, and the others go on."""
        page, session = self.page, self.studio.session(request)
        ticket = data[page.ticket]
        base, grid = self.studio.job(data, session), self._grid(data)
        images: Images = {}
        yield {page.status: texts.message("The grid is being filled.")}
        with closing(fill(self.studio.worker, session, grid, base, images)) as work:
            for update in work:
                if session.ticket != ticket:
                    break
                yield {page.grid_plan: texts.progress(update)} if update else self._show(session, grid, base, images)
        if session.ticket != ticket:
            yield {page.grid_plan: texts.message(f"Stopped after {len(images)} of {grid.total} pictures.")}
            return
        yield {
            page.status: texts.message("The grid is filled."),
            page.grid_plan: texts.message(f"{grid.total} pictures are done. A click on one loads its settings."),
        }

    def _show(self, session: Session, grid: Grid, base: Job, images: Images) -> Updates:
        path = session.new_file("grid", "png")
        sheet(grid, images).save(path)
        session.grid = FilledGrid(grid, sheet_layout(grid, images), base)
        return {self.page.grid_sheet: str(path)}

    @explained
    def pick(self, event: gr.SelectData, request: gr.Request) -> Updates:
        """Load the settings of the cell under the pointer. Not queued."""
        filled = self.studio.session(request).grid
        if filled is None:
            return {self.page.grid_plan: gr.skip()}
        place = cell_at(filled.grid, filled.layout, *event.index)
        for cell in cells_of(filled.grid, filled.base):
            if (cell.row, cell.column) == place:
                job = cell_job(filled.base, cell)
                return {
                    **self.studio.shelf.job_updates(job),
                    self.page.grid_plan: texts.message(f"Loaded: {texts.cell_name(filled.grid, cell)}."),
                }
        return {self.page.grid_plan: gr.skip()}

    def _grid(self, data: Data) -> Grid:
        (x_name, y_name), (x_values, y_values) = (
            [data[component] for component in components]
            for components in (self.page.grid_names, self.page.grid_values)
        )
        return make_grid(GRID_NAMES[x_name], x_values, None if y_name == NO_SECOND else GRID_NAMES[y_name], y_values)
