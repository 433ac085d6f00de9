"""What the page does. Every handler gets its session from the request; long work is a generator.

A change on the page first runs `wish`, which is not queued: it takes a new ticket, and whatever still works for an
older one ends at its next UNet call. Then the render itself is queued with that ticket.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any

import gradio as gr
from gradio.components import Component
from PIL import Image, ImageOps

from magicstyle_core import MagicStyleError, SettingsError, StyleEngine
from magicstyle_core.regions import brush_mask, face_mask
from magicstyle_core.ui import texts
from magicstyle_core.ui.controls import CUSTOM, preset_of
from magicstyle_core.ui.job import Job, Result, Worked, Worker
from magicstyle_core.ui.layers import LayerChooser
from magicstyle_core.ui.layout import Page
from magicstyle_core.ui.session import Session, Sessions
from magicstyle_core.ui.shelf import Data, Shelf, Updates
from magicstyle_core.ui.work import Update


def explained(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Turns the errors meant for the user into a message on the page; inputs and results stay as they are."""

    @wraps(handler)
    def steps(*args: Any) -> Iterator[Any]:
        try:
            yield from handler(*args)
        except MagicStyleError as error:
            raise gr.Error(str(error), print_exception=False) from error

    @wraps(handler)
    def once(*args: Any) -> Any:
        try:
            return handler(*args)
        except MagicStyleError as error:
            raise gr.Error(str(error), print_exception=False) from error

    return steps if isgeneratorfunction(handler) else once


class Studio:
    """The handlers of one page on one engine."""

    def __init__(self, engine: StyleEngine, page: Page, chooser: LayerChooser, worker: Worker, shelf: Shelf) -> None:
        self.engine = engine
        self.page = page
        self.chooser = chooser
        self.worker = worker
        self.shelf = shelf
        self.sessions = Sessions()
        # Gradio empties the outputs of a generator that yields nothing.
        self.nothing: Updates = {page.status: gr.skip()}

    def session(self, request: gr.Request) -> Session:
        assert request.session_hash is not None  # Gradio gives one to every browser tab and client
        return self.sessions.get(request.session_hash)

    # Images and their inversion.

    def note_image(self, slot: str) -> Callable[..., int]:
        """For the image of this slot: remember which file it holds now, and supersede what runs for the old one."""

        def note(path: str | None, request: gr.Request) -> int:
            session = self.session(request)
            session.wanted[slot] = path
            return session.supersede()

        return note

    def invert_image(self, slot: str) -> Callable[..., Iterator[Updates]]:
        """Invert the image of this slot with progress, at the depth that its companions are stored at."""

        @explained
        def invert(path: str | None, steps: int, request: gr.Request) -> Iterator[Updates]:
            yield self.nothing
            session = self.session(request)
            if path is None or session.wanted.get(slot) != path:
                return
            others = [other for name, other in session.wanted.items() if other and name != slot]
            depth = session.depth(others, int(steps))
            phase = "Inverting the photograph" if slot == "content" else "Inverting the style"
            is_content = slot == "content"
            work = self.worker.invert(session, path, depth, phase, is_content and path not in session.pairs)
            while True:
                try:
                    update = next(work)
                except StopIteration as stop:
                    worked = stop.value
                    break
                if session.wanted.get(slot) != path:
                    work.close()
                    return
                yield {self.page.status: texts.progress(update)}
            updates: Updates = {self.page.steps_note: texts.steps_note(int(steps), session.common_depths())}
            if worked.inversion_calls:
                name = phase.removeprefix("Inverting ").capitalize()
                updates[self.page.status] = texts.message(
                    f"{name} is inverted: {worked.inversion_calls} UNet calls, once."
                )
            if is_content:
                pair = self._round_trip(session, path, worked)
                updates[self.page.round_trip] = pair
                canvas: dict[str, Any] = {"background": pair[0], "layers": [], "composite": None}
                inversion = worked.inversions[path]
                updates[self.page.brush] = gr.ImageEditor(canvas, canvas_size=inversion.picture.image.size)
                session.brushed = None
            yield updates

        return invert

    def _round_trip(self, session: Session, path: str, worked: Worked) -> tuple[str, str]:
        """The photograph at the model's size, and what the model's codec makes of it."""
        if worked.round_trip is not None:
            original, decoded = session.new_file("photograph", "png"), session.new_file("round-trip", "png")
            self.engine.prepare(path).image.save(original)
            worked.round_trip.save(decoded)
            session.pairs[path] = str(original), str(decoded)
        return session.pairs[path]

    # Rendering.

    def wish(self, data: Data, request: gr.Request) -> Updates:
        """A new wish: supersede what runs, and say what the change means. Not queued."""
        page, session = self.page, self.session(request)
        try:
            preset = preset_of(self.shelf.settings(data), self.chooser)
        except SettingsError:  # the render says what is wrong
            preset = CUSTOM
        return {
            page.ticket: session.supersede(),
            page.preset: preset,
            page.steps_note: texts.steps_note(int(data[page.steps]), session.common_depths()),
        }

    def stop(self, request: gr.Request) -> Updates:
        """End what runs; the last picture stays. Not queued."""
        session = self.session(request)
        session.stopped = session.supersede()
        session.wanted.clear()  # inversions end, too; the next render makes up for them
        return {self.page.status: texts.message(texts.STOPPED)}

    @explained
    def render(self, data: Data, request: gr.Request) -> Iterator[Updates]:
        """A draft, passing pictures, then the full picture, until a newer wish comes."""
        yield self.nothing
        session = self.session(request)
        job = self.job(data, session)
        ticket = data[self.page.ticket]
        work = self.worker.run(session, job)
        result = yield from self._shown(session, work, lambda: session.ticket == ticket)
        if result is None:
            return
        entry = self.shelf.add(session, job, result, private=data[self.page.private])
        yield self.shelf.show(session, entry)

    @explained
    def render_live(self, data: Data, request: gr.Request) -> Iterator[Updates]:
        """Like `render`, for a change of a control: only when Live is on, and there is a picture that would differ."""
        yield self.nothing
        session = self.session(request)
        stale = data[self.page.ticket] != session.ticket
        if stale or not data[self.page.live] or session.shown is None or data[self.page.content] is None:
            return
        if not any(data[image] for image in self.page.styles) or self.job(data, session) == session.shown:
            return
        yield from self.render(data, request)

    def _shown(
        self, session: Session, work: Generator[Update, None, Result], is_wanted: Callable[[], bool]
    ) -> Generator[Updates, None, Result | None]:
        """Shows a job's progress while it is wanted. Returns its result, or None when it was superseded."""
        while is_wanted():
            try:
                update = next(work)
            except StopIteration as stop:
                return stop.value
            if is_wanted():
                updates: Updates = {self.page.status: texts.progress(update)}
                if update.image is not None:
                    updates[self.page.result] = session.save_frame(update.image)
                yield updates
        work.close()
        if session.stopped == session.ticket:  # progress sent before may have reached the page after Stop's own message
            yield {self.page.status: texts.message(texts.STOPPED)}
        return None

    def job(self, data: Data, session: Session) -> Job:
        """The job that the controls describe. Raises SettingsError."""
        page = self.page
        if data[page.content] is None:
            raise SettingsError("There is no photograph yet; drop one into the first box.")
        styles = tuple(
            (data[image], float(data[weight]))
            for image, weight in zip(page.styles, page.weights, strict=True)
            if data[image] is not None
        )
        if not styles:
            raise SettingsError("There is no style yet; drop a picture into the second box.")
        region = data[page.region]
        return Job(
            content=data[page.content],
            styles=styles,
            settings=self.shelf.settings(data),
            steps=int(data[page.steps]),
            mask=self._mask(session, data[page.content], region),
            region=region,
        )

    def _mask(self, session: Session, content: str, region: str) -> Image.Image | None:
        if region == "Brush":
            return session.brushed
        if region not in ("Face", "Background"):
            return None
        face = self._face(session, content)
        return ImageOps.invert(face) if face is not None and region == "Background" else face

    def _face(self, session: Session, content: str) -> Image.Image | None:
        if content not in session.faces:
            session.faces[content] = face_mask(self.engine.prepare(content).image)
        return session.faces[content]

    @explained
    def note_region(self, region: str, content: str | None, request: gr.Request) -> Updates:
        """Show what the chosen region means here, and the canvas for the brush. Not queued."""
        is_found = not (content and region in ("Face", "Background")) or self._face(self.session(request), content)
        note = texts.region_note(region) if is_found else texts.NO_FACE
        return {self.page.brush: gr.ImageEditor(visible=region == "Brush"), self.page.region_note: note}

    def keep_brushed(self, value: dict[str, Any] | None, request: gr.Request) -> None:
        """The painted mask. Not queued."""
        self.session(request).brushed = brush_mask(value) if value else None

    # Around it.

    def memory(self, request: gr.Request) -> str:
        """The memory panel. Not queued."""
        return texts.memory(self.engine.stats(), self.session(request).key)

    def leave(self, request: gr.Request) -> None:
        """The tab is closed."""
        self.drop(request)

    def drop(self, request: gr.Request) -> int:
        """Drop everything of this visitor: work, pictures, files, features. Returns the bytes of features freed."""
        session = self.session(request)
        self.sessions.drop(session.key)
        return self.engine.forget(session.key)

    def forget(self, request: gr.Request) -> Updates:
        """Forget the visitor's pictures and empty the page."""
        page = self.page
        freed = self.drop(request)
        cleared: list[Component] = [page.content, *page.styles, page.result, page.before_after, page.round_trip,
                                    page.compare, page.brush]  # fmt: skip
        return {
            **{component: None for component in cleared},
            page.history: gr.Gallery([], visible=False),
            page.download: gr.DownloadButton(value=None, interactive=False),
            page.compare_left: gr.Dropdown(choices=[], value=None),
            page.compare_right: gr.Dropdown(choices=[], value=None),
            page.status: texts.message(f"Forgotten: pictures, results and {texts.megabytes(freed)} of features."),
            page.memory: self.memory(request),
        }
