"""The attention lens: a click on the shown picture lights up where in its styles that spot looked."""

from __future__ import annotations

import asyncio
import base64
import io
import logging
from collections.abc import AsyncIterator
from html import escape
from typing import Any

import gradio as gr
from PIL import Image

from magicstyle_core import ASSETS
from magicstyle_core.errors import MagicStyleError
from magicstyle_core.layers import GROUPS
from magicstyle_core.serving.desk import Desk
from magicstyle_core.serving.jobs import Aim, Record
from magicstyle_core.serving.looking import looking
from magicstyle_core.serving.places import Looked
from magicstyle_core.serving.turns import Run
from magicstyle_core.settings import WAY_DOWN
from magicstyle_core.ui.inputs import Radio, Slider
from magicstyle_core.ui.result import progress
from magicstyle_core.ui.texts import label
from magicstyle_core.ui.visit import Data, Updates, Visit, alert, note

SCRIPT = ASSETS / "lens.js"


class Lens:
    """Closed until somebody opens it: while it is open, the picture is clicked for it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        with gr.Accordion(label("lens"), open=False, elem_id="lens-panel"):
            self.note = gr.HTML(label("lens_hint"), elem_id="lens-note")
            self.view = gr.HTML(elem_id="lens", js_on_load=SCRIPT.read_text())
            with gr.Row():
                self.across = gr.Number(0.5, step=0.01, label=label("across"), elem_id="lens-across")
                self.down = gr.Number(0.5, step=0.01, label=label("down"), elem_id="lens-down")
            with gr.Row():
                self.group = Radio(
                    [(group, group) for group in GROUPS], value=GROUPS[-1], label=label("lens_group"),
                    elem_id="lens-group",
                )  # fmt: skip
                self.way_down = Slider(
                    0, 1, WAY_DOWN, step=0.05, label=label("lens_step"), info=label("lens_step_hint"),
                    elem_id="lens-step",
                )  # fmt: skip

    def greet(self, visit: Visit) -> Updates:
        visit.visitor.looked = None  # on the page before
        return {
            self.note: note(visit.say("lens_hint")),
            self.group: gr.Radio(choices=[(visit.say(group), group) for group in GROUPS]),
        }

    @property
    def outputs(self) -> list[gr.HTML]:
        return [self.note, self.view]

    def connect(self) -> None:
        """A click on the picture, and each control; a click sets the spot's two numbers, which then fire no `input`."""
        chosen: list[Any] = [self.across, self.down, self.group, self.way_down]
        queued: dict[str, Any] = {
            "outputs": [*self.outputs, self.across, self.down], "show_progress": "hidden", "concurrency_limit": None,
            "api_visibility": "private", "trigger_mode": "always_last",
        }  # fmt: skip

        async def point(data: Data, event: gr.EventData, request: gr.Request) -> AsyncIterator[Updates]:
            across, down = (round(float(place), 2) for place in event.pick.split())
            yield {self.across: across, self.down: down}
            async for updates in self._look(Visit(self.desk, request), {**data, self.across: across, self.down: down}):
                yield updates

        async def choose(data: Data, request: gr.Request) -> AsyncIterator[Updates]:
            yield {self.note: gr.skip()}
            async for updates in self._look(Visit(self.desk, request), data):
                yield updates

        self.view.click(point, set(chosen), **queued)
        events = [self.across.input, self.down.input, self.group.input, self.way_down.input]
        gr.on(events, choose, set(chosen), **queued)

    async def _look(self, visit: Visit, data: Data) -> AsyncIterator[Updates]:
        """Through the lens at the shown picture, unless this was the last look; a newer one ends it."""
        visitor, record = visit.visitor, visit.visitor.board.record
        if record is None:
            yield {self.note: alert(visit.say("no_picture")), self.view: ""}
            return
        try:
            aim = Aim((data[self.across], data[self.down]), data[self.group], data[self.way_down])
        except MagicStyleError as error:
            yield {self.note: alert(visit.explain(error))}
            return
        if visitor.looked == (record.path, aim):
            return
        if visitor.lens_run is not None:
            visitor.lens_run.cancel()
        run: Run[Looked] = self.desk.turns.submit(looking(self.desk, visitor, record.job, aim))
        visitor.lens_run, visitor.looked = run, (record.path, aim)
        async for event in run.events():
            yield {self.note: progress(visit, event)}
        try:
            looked = run.result()
            yield {
                self.note: note(visit.say("lens_done", calls=looked.calls)),
                self.view: view(visit, record, aim, looked),
            }
        except asyncio.CancelledError:
            return
        except Exception as error:
            visitor.looked = None
            text = visit.explain(error)
            if not isinstance(error, MagicStyleError):
                logging.getLogger(__name__).exception("a look failed")
                text = visit.say("unexpected", kind=type(error).__name__)
            yield {self.note: alert(text), self.view: ""}


def view(visit: Visit, record: Record, aim: Aim, looked: Looked) -> str:
    """The lit style pictures, and of which picture and spot they tell."""
    across, down = aim.spot
    where = visit.say("caption_draft_short") if record.is_draft else visit.say("caption_number", number=record.number)
    pictures = "".join(
        f'<img src="{_data_url(image)}" alt="{visit.html("lens_alt", number=number)}">'
        for number, image in enumerate(looked.images, 1)
    )
    shares = ", ".join(
        visit.say("lens_share", number=number, share=f"{share:.0%}") for number, share in enumerate(looked.shares, 1)
    )
    text = visit.html("lens_caption", picture=where, across=f"{across:.0%}", down=f"{down:.0%}")
    more = f" {escape(shares)}." if len(looked.shares) > 1 else ""
    return (
        f'<figure class="ms-lens" data-across="{across:g}" data-down="{down:g}">'
        f"<div>{pictures}</div><figcaption>{text}{more}</figcaption></figure>"
    )


def _data_url(image: Image.Image) -> str:
    """A picture inside of the page, which so leaves no file behind."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
