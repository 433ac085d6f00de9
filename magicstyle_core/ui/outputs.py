"""What the shown picture can become: a file of another size or format, the filmstrip of its steps, an animation."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Generator
from html import escape
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from PIL import Image

from magicstyle_core import ASSETS
from magicstyle_core.enlarge import TIMES
from magicstyle_core.errors import MagicStyleError
from magicstyle_core.serving import outputs
from magicstyle_core.serving.desk import Desk
from magicstyle_core.serving.jobs import Event, Record
from magicstyle_core.serving.turns import Run
from magicstyle_core.ui.result import caption, progress
from magicstyle_core.ui.texts import label
from magicstyle_core.ui.visit import AT_ONCE, Updates, Visit, alert, file_url, note

T = TypeVar("T")
FORMATS = {"PNG": ".png", "JPEG": ".jpg", "WebP": ".webp"}
SCRIPT = ASSETS / "film.js"
FETCH = """() => { const link = document.querySelector('#outputs-note a.ms-fetch');
  if (link) { link.classList.remove('ms-fetch'); link.click(); } }"""


class Outputs:
    """The tab for them. `stop` ends whichever is under way."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        with gr.Row():
            self.times = gr.Radio(list(TIMES), value=1, label=label("times"), info=label("times_hint"), elem_id="times")
            self.format = gr.Radio(
                list(FORMATS), value="PNG", label=label("format"), info=label("format_hint"), elem_id="format"
            )
        with gr.Row(elem_classes="ms-actions"):
            self.make = gr.Button(label("make_file"), variant="primary", elem_id="make-file")
            self.animate = gr.Button(label("animate"), elem_id="animate")
            self.film = gr.Button(label("film"), elem_id="film-run")
            self.stop = gr.Button(label("stop_output"), elem_id="stop-output")
        self.note = gr.HTML(elem_id="outputs-note")
        self.strip = gr.HTML(elem_id="film", js_on_load=SCRIPT.read_text())

    def greet(self, visit: Visit) -> Updates:
        return {self.times: gr.Radio(choices=[(visit.say(f"times_{times}"), times) for times in TIMES])}

    def connect(self) -> None:
        async def make(times: int, kind: str, request: gr.Request) -> AsyncIterator[Updates]:
            def work(visit: Visit, record: Record) -> Generator[Event | None, None, Path]:
                return outputs.download(self.desk, visit.visitor, record, times, FORMATS[kind])

            async for updates in self._work(request, "making_file", work, self._offer):
                yield updates

        async def animate(request: gr.Request) -> AsyncIterator[Updates]:
            def work(visit: Visit, record: Record) -> Generator[Event | None, None, Path]:
                return outputs.animation(self.desk, visit.visitor, record)

            async for updates in self._work(request, "making_animation", work, self._offer):
                yield updates

        async def film(request: gr.Request) -> AsyncIterator[Updates]:
            def work(visit: Visit, record: Record) -> Generator[Event | None, None, outputs.Film]:
                return outputs.filmstrip(self.desk, visit.visitor, record)

            async for updates in self._work(request, "making_film", work, self._show):
                yield updates

        def stop(request: gr.Request) -> None:
            end(Visit(self.desk, request))

        queued: dict[str, Any] = {
            "outputs": [self.note, self.strip], "show_progress": "hidden", "concurrency_limit": None,
            "api_visibility": "private",
        }  # fmt: skip
        for event in (
            self.make.click(make, [self.times, self.format], **queued),
            self.animate.click(animate, None, **queued),
        ):
            event.then(None, None, None, js=FETCH)
        self.film.click(film, None, **queued)
        self.stop.click(stop, None, None, **AT_ONCE)

    async def _work(
        self,
        request: gr.Request,
        begun: str,
        work: Callable[[Visit, Record], Generator[Event | None, None, T]],
        show: Callable[[Visit, Record, T], Updates],
    ) -> AsyncIterator[Updates]:
        """Works on the last finished picture in the desk's turns: its progress, then what came of it."""
        visit = Visit(self.desk, request)
        record = visit.visitor.board.complete
        if record is None:
            yield {self.note: alert(visit.say("no_picture"))}
            return
        yield {self.note: note(visit.say(begun))}
        end(visit)
        run: Run[T] = self.desk.turns.submit(work(visit, record))
        visit.visitor.extra_run = run
        async for event in run.events():
            yield {self.note: progress(visit, event)}
        try:
            yield show(visit, record, run.result())
        except MagicStyleError as error:
            yield {self.note: alert(visit.explain(error))}
        except asyncio.CancelledError:
            yield {self.note: note(visit.say("stopped_empty"))}
        except Exception as error:
            logging.getLogger(__name__).exception("an output failed")
            yield {self.note: alert(visit.say("unexpected", kind=type(error).__name__))}

    def _offer(self, visit: Visit, record: Record, path: Path) -> Updates:
        """The file, which the browser also fetches at once."""
        with Image.open(path) as image:
            width, height = image.size
        text = visit.say("file_made", name=path.name, width=width, height=height)
        link = f'<a class="ms-link ms-fetch" href="{file_url(path)}" download="{escape(path.name)}">'
        return {self.note: f"{note(text)}{link}{visit.html('download')}</a>"}

    def _show(self, visit: Visit, record: Record, film: outputs.Film) -> Updates:
        """The pictures of every step, one of them to see; the slider is the browser's own business."""
        frames, total = [file_url(path) for path in film.frames], len(film.frames)
        text = visit.html("film_step", picture=caption(visit, record), step="{step}", total=total)
        strip = (
            f'<figure class="ms-film" data-frames="{escape(json.dumps(frames))}" data-text="{text}">'
            f'<img src="{frames[-1]}" alt="{visit.html("film_alt")}"><figcaption></figcaption>'
            f'<input type="range" min="1" max="{total}" value="{total}" aria-label="{visit.html("film_slider")}">'
            "</figure>"
        )
        return {self.note: note(visit.say("film_done", total=total, calls=film.calls)), self.strip: strip}


def end(visit: Visit) -> None:
    """Ends what is being made of the visitor's picture."""
    if visit.visitor.extra_run is not None:
        visit.visitor.extra_run.cancel()
