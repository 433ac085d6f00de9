"""Many pictures over one or two settings: announced first, then filled one by one; a click goes to one of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import gradio as gr
from PIL import Image

from magicstyle_core.errors import MagicStyleError, SettingsError
from magicstyle_core.grid import AXES, MISSING, Cell, Grid, parse_values, sheet, value_text
from magicstyle_core.serving.desk import Desk
from magicstyle_core.serving.jobs import Job, Step
from magicstyle_core.settings import TABLE
from magicstyle_core.ui.texts import label
from magicstyle_core.ui.visit import AT_ONCE, Data, Updates, Visit, alert, note

ReadJob = Callable[[Data, Visit], tuple[Job, Updates]]
NOTHING = ""  # the second axis of a grid with one


class GridPanel:
    """Axes, values, and the gallery of pictures."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        with gr.Row():
            self.x_name = gr.Dropdown(list(AXES), value="strength", label=label("across"), elem_id="grid-x-name")
            self.x_values = gr.Textbox(
                "0, 0.5, 1", label=label("values_across"), info=label("values_hint"), elem_id="grid-x"
            )
            self.y_name = gr.Dropdown([NOTHING, *AXES], value=NOTHING, label=label("down"), elem_id="grid-y-name")
            self.y_values = gr.Textbox(
                "0.2, 0.8", label=label("values_down"), info=label("values_hint"), elem_id="grid-y"
            )
        self.plan = gr.HTML(elem_id="grid-plan")
        with gr.Row(elem_classes="ms-actions"):
            self.run = gr.Button(label("grid_run"), variant="primary", elem_id="grid-run")
            self.quick = gr.Button(label("grid_quick"), elem_id="grid-quick")
            self.stop = gr.Button(label("grid_stop"), elem_id="grid-stop")
            self.file = gr.DownloadButton(label("grid_sheet"), elem_id="grid-file", interactive=False)
        self.gallery = gr.Gallery(
            label=label("grid_pictures"), elem_id="grid-sheet", columns=3, height="auto", allow_preview=False,
            object_fit="contain", interactive=False, buttons=[],
        )  # fmt: skip

    @property
    def inputs(self) -> list[Any]:
        return [self.x_name, self.x_values, self.y_name, self.y_values]

    def greet(self, visit: Visit) -> Updates:
        axes = [(visit.say(f"setting.{name}"), name) for name in AXES]
        return {
            self.x_name: gr.Dropdown(choices=axes),
            self.y_name: gr.Dropdown(choices=[(visit.say("nothing"), NOTHING), *axes]),
        }

    def connect(self, read: ReadJob, job_inputs: list[Any]) -> Any:
        """Plan, fill, stop. Returns the event of a click on a picture, for the page to show its job."""

        def plan(data: Data, request: gr.Request) -> Updates:
            visit = Visit(self.desk, request)
            try:
                grid = self._grid(data)
            except MagicStyleError as error:
                return {self.plan: alert(visit.explain(error))}
            records = visit.visitor.history
            each = records[-1].seconds / max(records[-1].calls, 1) if records else 0.1
            calls = grid.total * self.desk.place.facts.steps
            return {self.plan: note(visit.say("grid_plan", pictures=grid.total, calls=calls, seconds=calls * each))}

        async def fill(data: Data, request: gr.Request) -> AsyncIterator[Updates]:
            async for updates in self._fill(read, data, request, self._grid, draft=False):
                yield updates

        async def fill_quickly(data: Data, request: gr.Request) -> AsyncIterator[Updates]:
            async for updates in self._fill(read, data, request, self._quick_grid, draft=True):
                yield updates

        def stop(request: gr.Request) -> None:
            run = Visit(self.desk, request).visitor.grid_run
            if run is not None:
                run.cancel()

        gr.on(None, plan, set(self.inputs), [self.plan], trigger_mode="always_last", **AT_ONCE)
        for button, handler in ((self.run, fill), (self.quick, fill_quickly)):
            button.click(
                handler, {*job_inputs, *self.inputs}, [self.plan, self.gallery, self.file], show_progress="hidden",
                concurrency_limit=None, api_visibility="private",
            )  # fmt: skip
        self.stop.click(stop, None, None, **AT_ONCE)

    async def _fill(
        self, read: ReadJob, data: Data, request: gr.Request, axes: Callable[[Data], Grid], *, draft: bool
    ) -> AsyncIterator[Updates]:
        visit = Visit(self.desk, request)
        yield {self.plan: gr.skip()}
        try:
            base, _ = read(data, visit)
            if not base.is_complete:
                raise SettingsError(visit.say("no_style" if base.content else "no_photograph"))
            grid = axes(data)
        except MagicStyleError as error:
            yield {self.plan: alert(visit.explain(error))}
            return
        cells, made, items = grid.cells(base.settings), list[Image.Image | Exception](), list[tuple[str, str]]()
        jobs = [job_of(base, cell) for cell in cells]
        visit.visitor.grid_jobs = [job if isinstance(job, Job) else None for job in jobs]
        run = self.desk.turns.submit(self.desk.variants(visit.visitor, jobs, made, draft=draft))
        visit.visitor.grid_run = run
        async for event in run.events():
            updates: Updates = {}
            if isinstance(event, Step):
                updates[self.plan] = note(visit.say("grid_step", step=event.step, total=event.total))
            if len(items) < len(made):
                self._add(visit, grid, cells, made, items)
                updates[self.gallery] = gr.Gallery(list(items), columns=grid.columns)
            if updates:
                yield updates
        self._add(visit, grid, cells, made, items)
        path = visit.visitor.new_file("magicstyle-grid.png")
        images = {
            (cell.row, cell.column): image if isinstance(image, Image.Image) else SettingsError(visit.explain(image))
            for cell, image in zip(cells, made, strict=False)
        }
        sheet(grid, images, {name: visit.say(f"setting.{name}") for name in AXES}).save(path)
        yield {
            self.plan: note(visit.say("grid_done", pictures=len(made), total=grid.total)),
            self.gallery: gr.Gallery(list(items), columns=grid.columns),
            self.file: gr.DownloadButton(value=str(path), interactive=True),
        }

    def _add(self, visit: Visit, grid: Grid, cells: list[Cell], made: list[Any], items: list[tuple[str, str]]) -> None:
        """Files and captions of the pictures that came since."""
        for cell, image in list(zip(cells, made, strict=False))[len(items) :]:
            path = visit.visitor.new_file("cell.webp")
            (image if isinstance(image, Image.Image) else Image.new("RGB", (256, 256), MISSING)).save(path, quality=90)
            text = cell_name(visit, grid, cell)
            items.append((str(path), text if isinstance(image, Image.Image) else f"{text}: {visit.explain(image)}"))

    def _grid(self, data: Data) -> Grid:
        return make_grid(data[self.x_name], data[self.x_values], data[self.y_name] or None, data[self.y_values])

    def _quick_grid(self, data: Data) -> Grid:
        """Three values across the range of each axis; where no second one is chosen, structure."""
        x_name, y_name = data[self.x_name], data[self.y_name] or "structure"
        y_name = y_name if y_name != x_name else "strength"
        x, y = (TABLE[name] for name in (x_name, y_name))
        for setting in (x, y):
            if setting.kind != "number":
                raise SettingsError(f"{setting.name} has no range for a 3 × 3 sheet; fill a grid with its values.")
        return make_grid(x_name, f"{x.low}-{x.high} [3]", y_name, f"{y.low}-{y.high} [3]")


def make_grid(x_name: str, x_values: str, y_name: str | None, y_values: str) -> Grid:
    """A grid from what people write. Raises SettingsError."""
    rows = parse_values(y_name, y_values) if y_name else []
    return Grid(x_name, tuple(parse_values(x_name, x_values)), y_name, tuple(rows))


def job_of(base: Job, cell: Cell) -> Job | SettingsError:
    """The job of one picture, or why there is none."""
    if cell.settings is None:
        return cell.error or SettingsError("")
    return replace(base, settings=cell.settings)


def cell_name(visit: Visit, grid: Grid, cell: Cell) -> str:
    """The values of a picture, such as `Style strength 0.5, Structure 0.2`."""
    parts = [(grid.x_name, grid.x_values[cell.column])]
    if grid.y_name is not None:
        parts.append((grid.y_name, grid.y_values[cell.row]))
    return ", ".join(f"{visit.say(f'setting.{name}')} {value_text(value)}" for name, value in parts)
