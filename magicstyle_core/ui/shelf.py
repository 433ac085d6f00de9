"""Finished pictures: the history, the PNG with its settings, and the way back from both to the controls."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.components import Component

from magicstyle_core import FusionSettings, StyleEngine
from magicstyle_core.metadata import read_png, write_png
from magicstyle_core.settings import apply_preset
from magicstyle_core.store import SHARED
from magicstyle_core.ui import controls, texts
from magicstyle_core.ui.examples import Example
from magicstyle_core.ui.job import Job, Result
from magicstyle_core.ui.layers import LayerChooser
from magicstyle_core.ui.layout import Page
from magicstyle_core.ui.session import Entry, Session

Data = dict[Component, Any]
Updates = dict[Component, Any]


class Shelf:
    """Stores results per session and shows them."""

    def __init__(self, engine: StyleEngine, page: Page, chooser: LayerChooser) -> None:
        self.engine = engine
        self.page = page
        self.chooser = chooser

    def add(self, session: Session, job: Job, result: Result, private: bool) -> Entry:
        """Put a result into the history, as a PNG that carries its settings unless `private`."""
        number = session.next_number()
        stored = self.engine.stats()["sessions"]
        cached = stored.get(session.key, 0) + stored.get(SHARED, 0)
        entry = Entry(number, job, result, session.new_file(f"magicstyle-{number}", "png"), texts.cost(result, cached))
        self._write(entry, private)
        session.add(entry)
        return entry

    def _write(self, entry: Entry, private: bool) -> None:
        write_png(entry.result.image, entry.path, None if private else entry.result.recipe)

    def show(self, session: Session, entry: Entry) -> Updates:
        """The page with this entry on it, and the history as it is now."""
        page = self.page
        session.shown = entry.job
        newest_first = list(reversed(session.history))
        names = [kept.caption for kept in newest_first]
        updates: Updates = {
            page.status: texts.message(entry.summary),
            page.result: str(entry.path),
            page.download: gr.DownloadButton(value=str(entry.path), interactive=True),
            page.history: gr.Gallery([(str(kept.path), kept.title) for kept in newest_first], visible=True),
            page.compare_left: gr.Dropdown(choices=names),
            page.compare_right: gr.Dropdown(choices=names),
            page.steps_note: texts.steps_note(entry.job.steps, session.common_depths()),
        }
        if entry.job.content in session.pairs:
            updates[page.before_after] = (session.pairs[entry.job.content][0], str(entry.path))
        return updates

    def restore(self, session: Session, index: int) -> Updates:
        """Bring back the history entry at this place of the gallery: picture, images and settings, nothing rendered."""
        entry = session.history[-1 - index]
        return {**self.job_updates(entry.job), **self.show(session, entry)}

    def compare(self, session: Session, left: str | None, right: str | None) -> tuple[str, str] | None:
        """The pictures of two captions, or None while one of them is not chosen."""
        paths = {entry.caption: str(entry.path) for entry in session.history}
        return (paths[left], paths[right]) if left in paths and right in paths else None

    def set_private(self, session: Session, private: bool) -> Updates:
        """Write every PNG of the session again, with or without settings, under new names."""
        for entry in session.history:
            entry.path.unlink()
            entry.path = session.new_file(f"magicstyle-{entry.number}", "png")
            self._write(entry, private)
        shown = next((entry for entry in reversed(session.history) if entry.job == session.shown), None)
        return self.show(session, shown) if shown else {self.page.status: gr.skip()}

    def from_png(self, path: str) -> Updates:
        """The settings that a PNG carries. Raises MetadataError when it carries none."""
        saved = read_png(path)
        steps = saved.settings.render_steps or saved.inversion.steps or self.engine.model.steps
        model = "" if saved.model == self.engine.model.name else f" It was made with the model {saved.model}."
        return {
            **self.settings_updates(saved.settings),
            self.page.steps: steps,
            self.page.settings_note: texts.message(
                f"Settings restored: strength {saved.settings.strength:g}, {steps} steps.{model}"
            ),
        }

    def settings(self, data: Data) -> FusionSettings:
        """The settings that the controls show. Raises SettingsError."""
        return controls.to_settings({name: data[control] for name, control in self.page.controls.items()}, self.chooser)

    def preset(self, name: str, settings: FusionSettings) -> Updates:
        """The controls at a preset's numbers."""
        return self.settings_updates(settings if name == controls.CUSTOM else apply_preset(name, settings))

    def example(self, session: Session, example: Example) -> Updates:
        """Load a bundled example with its precomputed result."""
        page = self.page
        values = controls.to_values(example.settings, self.chooser)
        settings = controls.to_settings(values, self.chooser)  # as the page will say it
        job = Job(str(example.content), ((str(example.style), 1.0),), settings, self.engine.model.steps)
        session.shown = job
        return {
            **self.job_updates(job),
            page.result: str(example.result),
            page.before_after: (str(example.content), str(example.result)),
            page.status: texts.message(
                f"{example.caption}, {example.preset}: shown as it was rendered before. Move a slider to go on."
            ),
        }

    def job_updates(self, job: Job) -> Updates:
        """Images and controls as this job has them."""
        page = self.page
        absent: list[tuple[str | None, float]] = [(None, 1.0)] * (len(page.styles) - len(job.styles))
        updates: Updates = {page.content: job.content, page.steps: job.steps, page.region: job.region}
        for image, weight, style in zip(page.styles, page.weights, [*job.styles, *absent], strict=True):
            updates[image], updates[weight] = style
        return {**updates, **self.settings_updates(job.settings)}

    def settings_updates(self, settings: FusionSettings) -> Updates:
        """The controls as these settings have them. Raises SettingsError when the model lacks one of the layers."""
        page = self.page
        values = controls.to_values(settings, self.chooser)
        updates: Updates = {control: values[name] for name, control in page.controls.items()}
        updates[page.preset] = controls.preset_of(settings, self.chooser)
        updates[page.groups] = self.chooser.full_groups(values["layers"])
        updates[page.diagram] = self.chooser.diagram(values["layers"])
        return updates
