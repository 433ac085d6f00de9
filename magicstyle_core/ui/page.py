"""The page: the panels in their places, and the way of a wish.

Whatever is moved, dropped or clicked, the page then says what it shows now (`wish`, not queued), and the desk knows
what to do about it. `follow` brings the visitor's board to the page for as long as there is something to see; there is
one at a time.

An event has at most one listener with `always_last`: when one of two had to wait, Gradio 6.31 fires the whole event
again after it, both wait for each other, and they go on for ever. More work is chained with `then`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import gradio as gr
from gradio.components import Component

from magicstyle_core.errors import ImageError, MagicStyleError
from magicstyle_core.serving.desk import Desk
from magicstyle_core.serving.following import boards
from magicstyle_core.serving.jobs import Job, Record
from magicstyle_core.ui.controls import Controls
from magicstyle_core.ui.grid import GridPanel
from magicstyle_core.ui.history import DOWNLOAD, TAKE_ALL, History
from magicstyle_core.ui.lens import Lens
from magicstyle_core.ui.memory import Memory
from magicstyle_core.ui.outputs import Outputs, end
from magicstyle_core.ui.pictures import Pictures
from magicstyle_core.ui.presets import Presets
from magicstyle_core.ui.regions import Regions
from magicstyle_core.ui.result import Result
from magicstyle_core.ui.scripts import CLOCK, FOLLOW, HELLO, KEEP_TOKEN
from magicstyle_core.ui.share import Share, from_query, split
from magicstyle_core.ui.style_masks import StyleMasks
from magicstyle_core.ui.texts import label
from magicstyle_core.ui.visit import AT_ONCE, Data, Updates, Visit, alert, note


class Page:
    """Builds everything in the current Blocks context. `steps`: of the inversion, to begin with."""

    def __init__(self, desk: Desk, steps: int) -> None:
        self.desk = desk
        self.clock = gr.Number(visible="hidden")  # before all other inputs of a wish, see scripts.py
        self.changes = gr.Number(visible="hidden")  # see `changed`
        self.token = gr.Textbox(visible="hidden")
        self.query = gr.Textbox(visible="hidden")
        self.again = gr.Button(visible="hidden", elem_id="follow")
        self.saved = gr.BrowserState(storage_key="magicstyle-settings", secret="settings are no secret")
        self.controls = Controls(desk.place, steps)
        gr.HTML("<h1>MagicStyle</h1>", elem_id="header")
        with gr.Row(elem_id="workbench", equal_height=False):
            with gr.Column(elem_id="left", min_width=300):
                self.pictures = Pictures(desk)
                self._build_controls()
            with gr.Column(elem_id="right", min_width=300):
                self.result = Result()
                self.lens = Lens(desk)
                self.history = History(desk)
        with gr.Tabs(elem_id="drawers"):
            self._build_drawers()
        self._connect()

    def _build_controls(self) -> None:
        controls = self.controls
        with gr.Tabs(elem_id="controls"):
            with gr.Tab(label("tab_look"), id="look"):
                self.presets = Presets(self.desk.place)
                controls.tab("main")
                controls.note.render()
            with gr.Tab(label("tab_advanced"), id="advanced"):
                controls.tab("inversion")
                controls.cost.render()
                controls.tab("advanced")
                controls.groups.render()
                controls.diagram.render()
            with gr.Tab(label("tab_region"), id="region-tab"):
                self.regions = Regions(self.desk, controls)
            with gr.Tab(label("tab_styles"), id="styles"):
                self.pictures.more()
                self.style_masks = StyleMasks(self.desk, self.pictures.styles)

    def _build_drawers(self) -> None:
        with gr.Tab(label("tab_outputs"), id="outputs"):
            self.outputs = Outputs(self.desk)
        with gr.Tab(label("tab_settings"), id="settings"):
            self.share = Share(self.desk)
            self.history.private.render()
            gr.Checkbox(True, label=label("keys"), elem_id="keys", interactive=True)
        with gr.Tab(label("tab_grid"), id="grid"):
            self.grid = GridPanel(self.desk)
        with gr.Tab(label("tab_compare"), id="compare-tab"):
            self.history.compare_tab()
        with gr.Tab(label("tab_memory"), id="memory-tab") as self.memory_tab:
            self.memory = Memory(self.desk)

    # What the page says.

    @property
    def inputs(self) -> set[Component]:
        """What a job is read from."""
        return {
            *self.pictures.inputs,
            *self.controls.inputs,
            self.regions.region,
            self.result.live,
            self.style_masks.number,
        }

    def read(self, data: Data, visit: Visit) -> tuple[Job, Updates]:
        """The job that the page shows, and what is to be said about it.

        Raises:
            MagicStyleError: settings that do not go together, or a picture that cannot be used.
        """
        values, updates = self.controls.values(data, visit)
        settings, inversion = self.controls.settings(values)
        content, styles = self.pictures.read(data, visit, inversion.size)
        region, mask = self.regions.read(data), None
        if content:
            picture = self.desk.picture(visit.visitor, content, inversion.size)
            mask = self.regions.mask(visit, region, picture, content)
            self.pictures.keep_original(visit, content, inversion.size)
        place = region if mask is not None else "everywhere"
        style_masks = self.style_masks.read(visit, styles, inversion.size)
        return Job(content, tuple(styles), settings, inversion, place, mask, style_masks), updates

    def wish(self, data: Data, request: gr.Request) -> Updates:
        return self._wish(data, request, pressed=False)

    def press(self, data: Data, request: gr.Request) -> Updates:
        return self._wish(data, request, pressed=True)

    def _wish(self, data: Data, request: gr.Request, *, pressed: bool) -> Updates:
        visit, asked = Visit(self.desk, request), (data[self.changes] or 0, data[self.clock] or 0.0)
        said = self.pictures.said(visit, data)
        try:
            job, updates = self.read(data, visit)
        except MagicStyleError as error:
            self.desk.refuse(visit.visitor, error, asked)
            return {**said, self.controls.note: alert("" if isinstance(error, ImageError) else visit.explain(error))}
        if not self.desk.wish(visit.visitor, job, live=data[self.result.live], pressed=pressed, asked=asked):
            return {self.controls.note: gr.skip()}
        changed = self.controls.changed(job)
        return {
            **said,
            **updates,
            **self.controls.cost_of(visit, job),
            **self.regions.shown(visit, job, self.regions.read(data)),
            **self.style_masks.shown(visit, data, job.inversion.size),
            **self.share.updates(visit, changed),
            self.saved: changed,
        }

    @property
    def said(self) -> list[Component]:
        """What a wish is answered with."""
        return [
            *self.pictures.outputs, self.controls.note, self.controls.cost, *self.controls.inputs, self.regions.note,
            self.regions.brush, *self.style_masks.outputs, self.share.ways, self.saved,
        ]  # fmt: skip

    # What the page shows.

    async def follow(self, request: gr.Request) -> AsyncIterator[Updates]:
        """The board, whenever it changes, until there is nothing to wait for."""
        visit = Visit(self.desk, request)
        visitor = visit.visitor
        yield {self.result.status: gr.skip()}
        history: list[Record | None] | None = None
        async with aclosing(boards(self.desk, visitor)) as following:
            async for board, waiting in following:
                updates = self.result.updates(visit, board, waiting)
                shown = [*visitor.history, board.record]
                if shown != history:
                    history = shown
                    updates |= self.history.updates(visit)
                if board.wanted is not None:
                    updates |= self.presets.updates(visit, board, board.wanted.settings)
                yield updates
        yield {self.result.status: gr.skip()}  # for Gradio says the last again, maybe after a newer follower

    @property
    def shown(self) -> list[Component]:
        """What only the follower shows, once the page is there: a late answer would bring an older board back."""
        return [*self.result.outputs, *self.history.outputs, self.presets.buttons]

    def job_updates(self, visit: Visit, job: Job) -> Updates:
        """Pictures and controls as this job has them."""
        self.style_masks.take(visit, job)
        return {
            **self.pictures.updates(job),
            **self.controls.job_updates(job),
            **self.regions.updates(visit, job),
        }

    @property
    def job_outputs(self) -> list[Component]:
        return [
            *self.pictures.inputs, *self.controls.outputs, self.regions.region, self.regions.note, self.regions.brush,
            self.changes,
        ]  # fmt: skip

    def changed(self, visit: Visit, updates: Updates) -> Updates:
        """Updates of many controls at once.

        The browser sets one after the other, and controls out of sight say so at once: what is read off the page
        between the first and the last, which is `changes`, is neither the old settings nor the new ones.
        """
        with visit.visitor.lock:
            changes = visit.visitor.asked[0] + 1
            visit.visitor.asked = (changes, 0.0)
        return {**updates, self.changes: changes}

    # Coming and going.

    def hello(self, token: str | None, query: str, saved: dict[str, Any] | None, request: gr.Request) -> Updates:
        """A page was opened or came back: everything is as its visitor left it."""
        visitor = self.desk.visitors.greet(request.session_hash, token)
        visitor.follower, visitor.told = None, ()  # of the page before
        visit = Visit(self.desk, request)
        updates: Updates = {
            self.token: visitor.token,
            **self.grid.greet(visit),
            **self.outputs.greet(visit),
            **self.lens.greet(visit),
            self.pictures.wall: self.pictures.wall_of(visit),
        }
        if visitor.asked > (0, 0.0):
            updates |= self.changed(visit, {})  # whatever the page's clock said before
        wished, settings = visitor.board.wanted, None
        is_back = wished is not None and bool(wished.images)
        if wished is not None and is_back:
            visitor.show(message=("restored", {}))
            updates |= {**self.job_updates(visit, wished), **self.history.updates(visit)}
        try:
            defaults = self.controls.defaults
            settings = from_query(query or "", defaults)
            if settings is None and saved and not is_back:
                settings = split(saved, defaults)
            if settings is not None:
                updates |= self.controls.updates(*settings)
        except MagicStyleError as error:
            updates[self.controls.note] = alert(visit.explain(error))
        shown = settings[0] if settings else wished.settings if wished else self.controls.defaults
        updates |= self.presets.updates(visit, visitor.board, shown)
        for control, choices in {**self.controls.choices(visit), **self.regions.choices(visit)}.items():
            value = {"value": updates[control]} if control in updates else {}
            updates[control] = gr.update(choices=choices, **value)
        return {**updates, **self.result.updates(visit, visitor.board)}

    def forget(self, request: gr.Request) -> Updates:
        """Everything of the visitor is dropped, and the page is empty."""
        visit = Visit(self.desk, request)
        freed = self.desk.place.stats()["sessions"].get(visit.visitor.key, 0)
        token, wanted = visit.visitor.token, visit.visitor.board.wanted
        self.desk.visitors.drop(visit.visitor)
        visit = Visit(self.desk, request)
        visit.visitor.token = token
        visit.visitor.show(message=("forgotten", {"bytes": freed}))
        return {
            **{box: None for box in self.pictures.boxes},
            self.regions.brush: None,
            self.history.compare: None,
            self.lens.view: "",
            self.pictures.wall: self.pictures.wall_of(visit),
            **self.history.updates(visit),
            **self.result.updates(visit, visit.visitor.board),
            **self.presets.updates(visit, visit.visitor.board, wanted.settings if wanted else self.controls.defaults),
            **self.memory.updates(visit),
        }

    # Which event does what.

    def _connect(self) -> None:
        desk, pictures, controls, regions = self.desk, self.pictures, self.controls, self.regions
        wish: dict[str, Any] = {
            "fn": self.wish, "inputs": {self.clock, self.changes, *self.inputs}, "outputs": self.said,
            "js": CLOCK, "trigger_mode": "always_last", **AT_ONCE,
        }  # fmt: skip
        follow: dict[str, Any] = {
            "fn": self.follow, "inputs": None, "outputs": self.shown, "show_progress": "hidden",
            "trigger_mode": "multiple", "concurrency_limit": None, "api_visibility": "private",
        }  # fmt: skip
        self.again.click(**follow)

        def then_follow(event: Any) -> None:
            event.then(**follow, js=FOLLOW)

        plain = [control for name, control in controls.by_name.items() if name != "layers"]
        moved = [event for control in [*plain, *pictures.weights] for event in (control.input, control.change)]
        moved += [box.change for box in pictures.boxes]
        moved += [regions.region.change, self.style_masks.number.input, self.result.live.input]
        then_follow(gr.on(moved, **wish))
        then_follow(self.result.stylize.click(**{**wish, "fn": self.press}))
        for event in [*controls.connect(), *regions.connect(pictures.content), *self.style_masks.connect()]:
            then_follow(event.then(**wish))

        def set_preset(data: Data, event: gr.EventData, request: gr.Request) -> Updates:
            visit = Visit(desk, request)
            values, _ = controls.values(data, visit)
            return self.changed(visit, controls.preset(event.pick, values))

        outputs = [*controls.outputs, self.changes]
        preset = self.presets.buttons.click(set_preset, set(controls.inputs), outputs, **AT_ONCE)
        then_follow(preset.then(**wish))

        def stop(request: gr.Request) -> None:
            visit = Visit(desk, request)
            end(visit)
            desk.stop(visit.visitor)

        then_follow(self.result.stop.click(stop, None, None, **AT_ONCE))

        pictures.connect()
        self._connect_shelf(wish, then_follow)

    def _connect_shelf(self, wish: dict[str, Any], then_follow: Any) -> None:
        desk, history, controls = self.desk, self.history, self.controls

        def act(event: gr.EventData, request: gr.Request) -> Updates:
            visit = Visit(desk, request)
            if event.pick == TAKE_ALL:
                return history.take_all(visit)
            record = history.act(visit, event.pick)
            if record is None:
                return {self.changes: gr.skip()}
            desk.show(visit.visitor, record)
            return self.changed(visit, self.job_updates(visit, record.job))

        def set_private(private: bool, request: gr.Request) -> None:
            desk.set_private(Visit(desk, request).visitor, private)

        def restore(path: str | None, content: str | None, request: gr.Request) -> Updates:
            if not path:
                return {self.share.note: ""}
            visit, panels = Visit(desk, request), (self.pictures, controls, self.regions)
            return self.changed(visit, {**self.share.restore(visit, path, content, panels), self.share.file: None})

        def pick_cell(event: gr.SelectData, request: gr.Request) -> Updates:
            visit = Visit(desk, request)
            jobs = visit.visitor.grid_jobs
            job = jobs[event.index] if event.index < len(jobs) else None
            if job is None:
                return {self.grid.plan: gr.skip()}
            loaded = {self.grid.plan: note(visit.say("grid_loaded", cell=event.value["caption"]))}
            return self.changed(visit, {**self.job_updates(visit, job), **loaded})

        def memory(request: gr.Request) -> Updates:
            return self.memory.updates(Visit(desk, request))

        history.connect()
        self.outputs.connect()
        self.lens.connect()
        clicked = history.strip.click(act, None, [*self.job_outputs, history.zip], **AT_ONCE)
        clicked.then(None, None, None, js=DOWNLOAD)
        then_follow(clicked)
        then_follow(history.private.input(set_private, history.private, None, **AT_ONCE))
        restored = self.share.file.upload(
            restore, [self.share.file, self.pictures.content],
            [
                self.share.note, self.share.file, self.regions.region, *self.pictures.weights, *controls.outputs,
                self.changes,
            ],
            **AT_ONCE,
        )  # fmt: skip
        then_follow(restored.then(**{**wish, "fn": self.press}))
        self.grid.connect(self.read, list(self.inputs))
        then_follow(
            self.grid.gallery.select(pick_cell, None, [*self.job_outputs, self.grid.plan], **AT_ONCE).then(**wish)
        )
        gr.on([self.memory.refresh.click, self.memory_tab.select], memory, None, self.memory.table, **AT_ONCE)
        emptied = [*self.pictures.boxes, self.regions.brush, history.compare, self.lens.view]
        emptied += [self.pictures.wall, self.memory.table]
        self.memory.forget.click(self.forget, None, [*emptied, *self.shown], **AT_ONCE)
        outputs = [
            self.token, self.pictures.wall, controls.note, self.grid.x_name, self.grid.y_name, self.outputs.times,
            self.lens.note, self.lens.group,
        ]  # fmt: skip
        blocks = gr.context.Context.root_block
        hello = blocks.load(
            self.hello, [self.token, self.query, self.saved],
            [*outputs, *self.job_outputs, *self.shown], js=HELLO, **AT_ONCE,
        )  # fmt: skip
        kept = hello.then(None, self.token, None, js=KEEP_TOKEN)
        then_follow(kept)
        blocks.unload(self.leave)

    def leave(self, request: gr.Request) -> None:
        """The tab is closed, or the client has gone."""
        assert request.session_hash is not None  # Gradio gives one to every browser tab and client
        self.desk.visitors.leave(request.session_hash)
