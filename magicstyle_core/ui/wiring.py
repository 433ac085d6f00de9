"""Which event of the page starts which handler.

Everything that runs the model shares one place in the queue (`MODEL`), but for grids, which have one of their own
(`GRID`): they take turns with the rest, picture by picture (`Worker.turns`). Everything else is not queued, so that it
answers while the model works.

An event has at most one listener with `always_last`: when one of two had to wait, Gradio 6.31 fires the whole event
again after it, both wait for each other, and they go on for ever. More work is chained with `then`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from magicstyle_core.ui.examples import Example
from magicstyle_core.ui.grids import Grids
from magicstyle_core.ui.handlers import Studio, explained
from magicstyle_core.ui.shelf import Data, Updates

MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}
GRID: dict[str, Any] = {**MODEL, "concurrency_id": "grid"}
AT_ONCE: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}


def connect(studio: Studio, examples: Sequence[Example]) -> None:
    """Connects the page's components with their handlers, in the current Blocks context."""
    page = studio.page
    shown = [page.status, page.result, page.before_after, page.download, page.history,
             page.compare_left, page.compare_right, page.steps_note]  # fmt: skip

    def then_render(event: Dependency, live: bool = True) -> Dependency:
        return event.then(
            studio.render_live if live else studio.render, page.job_inputs, shown,
            trigger_mode="always_last", show_progress="hidden", **MODEL,
        )  # fmt: skip

    wish: dict[str, Any] = {
        "fn": studio.wish,
        "inputs": {*page.controls.values(), page.steps},
        "outputs": [page.ticket, page.preset, page.steps_note],
        "trigger_mode": "always_last",
        **AT_ONCE,
    }

    then_render(page.stylize.click(**wish), live=False)
    page.stop.click(studio.stop, None, [page.status], **AT_ONCE)
    plain = [control for name, control in page.controls.items() if name != "layers"]
    then_render(gr.on([control.input for control in [*plain, page.steps, *page.weights, page.region]], **wish))

    for slot, image in zip(("content", "style 1", "style 2", "style 3"), [page.content, *page.styles], strict=True):
        noted = image.change(studio.note_image(slot), image, page.ticket, trigger_mode="always_last", **AT_ONCE)
        outputs = [page.status, page.steps_note] + ([page.round_trip, page.brush] if slot == "content" else [])
        inverted = noted.then(
            studio.invert_image(slot), [image, page.steps], outputs,
            trigger_mode="always_last", show_progress="hidden", **MODEL,
        )  # fmt: skip
        then_render(inverted)

    _connect_choosers(studio, lambda event: then_render(event.then(**wish)))
    _connect_shelf(studio, examples, shown)
    _connect_grid(studio, wish)


def _connect_choosers(studio: Studio, set_then_render: Callable[[Dependency], Any]) -> None:
    """Preset, layers, groups, region: they set other controls first, and then render once."""
    page, chooser, shelf = studio.page, studio.chooser, studio.shelf
    layers = page.controls["layers"]
    setters: list[Component] = [*page.controls.values(), page.preset, page.groups, page.diagram]

    @explained
    def set_preset(data: Data) -> Updates:
        return shelf.preset(data[page.preset], shelf.settings(data))

    def set_layers(names: list[str]) -> tuple[list[str], str]:
        return chooser.full_groups(names), chooser.diagram(names)

    def set_groups(names: list[str], groups: list[str]) -> tuple[list[str], str]:
        switched = chooser.switch_groups(names, groups)
        return switched, chooser.diagram(switched)

    set_then_render(page.preset.input(set_preset, {page.preset, *page.controls.values()}, setters, **AT_ONCE))
    set_then_render(layers.input(set_layers, layers, [page.groups, page.diagram], **AT_ONCE))
    set_then_render(page.groups.input(set_groups, [layers, page.groups], [layers, page.diagram], **AT_ONCE))
    page.region.input(studio.note_region, [page.region, page.content], [page.brush, page.region_note], **AT_ONCE)
    set_then_render(page.brush.input(studio.keep_brushed, page.brush, None, trigger_mode="always_last", **AT_ONCE))


def _connect_shelf(studio: Studio, examples: Sequence[Example], shown: list[Component]) -> None:
    """History, comparison, privacy, PNG settings, examples, memory."""
    page, shelf = studio.page, studio.shelf
    controls = page.job_outputs

    def restore(event: gr.SelectData, request: gr.Request) -> Updates:
        return shelf.restore(studio.session(request), event.index)

    def compare(left: str | None, right: str | None, request: gr.Request) -> tuple[str, str] | None:
        return shelf.compare(studio.session(request), left, right)

    def set_private(private: bool, request: gr.Request) -> Updates:
        return shelf.set_private(studio.session(request), private)

    @explained
    def from_png(path: str | None) -> Updates:
        return shelf.from_png(path) if path else {page.settings_note: ""}

    def show_example(event: gr.SelectData, request: gr.Request) -> Updates:
        return shelf.example(studio.session(request), examples[event.index])

    page.history.select(restore, None, [*controls, *shown], **AT_ONCE)
    gr.on([page.compare_left.input, page.compare_right.input], compare, [page.compare_left, page.compare_right],
          page.compare, **AT_ONCE)  # fmt: skip
    page.private.input(set_private, page.private, shown, **AT_ONCE)
    page.settings_file.upload(from_png, page.settings_file, [*controls, page.settings_note], **AT_ONCE)
    page.examples.select(show_example, None, [*controls, *shown], **AT_ONCE)
    gr.on([page.refresh.click, page.memory_tab.select], studio.memory, None, page.memory, **AT_ONCE)
    emptied = [page.content, *page.styles, page.round_trip, page.compare, page.brush, page.memory]
    page.forget.click(studio.forget, None, [*emptied, *shown], **AT_ONCE)


def _connect_grid(studio: Studio, wish: dict[str, Any]) -> None:
    page, grids = studio.page, Grids(studio)
    planned = [*page.grid_names, *page.grid_values, page.steps]
    # Without triggers: when the page loads, and when one of the inputs changes.
    gr.on(None, grids.plan, set(planned), [page.grid_plan], trigger_mode="always_last", **AT_ONCE)
    page.grid_run.click(**wish).then(
        grids.run,
        page.job_inputs | set(planned),
        [page.status, page.grid_plan, page.grid_sheet],
        show_progress="hidden",
        **GRID,
    )
    page.grid_stop.click(studio.stop, None, [page.status], **AT_ONCE)
    page.grid_sheet.select(grids.pick, None, [*page.job_outputs, page.grid_plan], **AT_ONCE)
