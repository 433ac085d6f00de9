"""The visitor's finished pictures: show one again, keep it, delete it, take all along, compare two."""

from __future__ import annotations

import zipfile
from typing import Any

import gradio as gr

from magicstyle_core.serving.desk import Desk
from magicstyle_core.serving.jobs import Record
from magicstyle_core.ui.result import caption
from magicstyle_core.ui.texts import label
from magicstyle_core.ui.visit import AT_ONCE, PICK, Updates, Visit, file_url


class History:
    """The strip of pictures. `compare_tab` builds the comparison where it should stand."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.strip = gr.HTML(elem_id="history", js_on_load=PICK)
        self.zip = gr.HTML(elem_id="zip")
        self.private = gr.Checkbox(
            False, label=label("private"), info=label("private_hint"), elem_id="private", render=False
        )

    def compare_tab(self) -> None:
        with gr.Row():
            self.left = gr.Dropdown([], label=label("compare_left"), elem_id="compare-left")
            self.right = gr.Dropdown([], label=label("compare_right"), elem_id="compare-right")
        self.compare = gr.ImageSlider(
            label=label("compare"), type="filepath", format="png", interactive=False, max_height=440, buttons=[],
            elem_id="compare",
        )  # fmt: skip

    @property
    def outputs(self) -> list[Any]:
        return [self.strip, self.left, self.right]

    def updates(self, visit: Visit) -> Updates:
        """The newest first."""
        records = list(reversed(visit.visitor.history))
        choices = [(caption(visit, record), record.number) for record in records]
        return {
            self.strip: self._strip(visit, records),
            self.left: gr.update(choices=choices),
            self.right: gr.update(choices=choices),
        }

    def _strip(self, visit: Visit, records: list[Record]) -> str:
        if not records:
            return ""
        shown = visit.visitor.board.record
        items = "".join(
            f'<li><button type="button" class="ms-show" data-pick="show {record.number}" '
            f'aria-current="{str(record == shown).lower()}" '
            f'aria-label="{visit.html("history_show", number=record.number)}" title="{caption(visit, record)}">'
            f'<img src="{file_url(record.path)}" alt="" loading="lazy"></button>'
            f'<button type="button" class="ms-star" data-pick="star {record.number}" '
            f'aria-label="{visit.html("history_unstar" if record.starred else "history_star", number=record.number)}">'
            f"{'★' if record.starred else '☆'}</button>"
            f'<button type="button" class="ms-delete" data-pick="delete {record.number}" '
            f'aria-label="{visit.html("history_delete", number=record.number)}">×</button></li>'
            for record in records
        )
        take_all = f'<button type="button" class="ms-link" data-pick="{TAKE_ALL}">{visit.html("history_zip")}</button>'
        return f'<p class="ms-label">{visit.html("history")} {take_all}</p><ol class="ms-history">{items}</ol>'

    def act(self, visit: Visit, pick: str) -> Record | None:
        """Does what was clicked; returns the picture to show with its settings."""
        action, _, number = pick.partition(" ")
        record = visit.visitor.entry(int(number))
        if record is None:
            return None
        if action == "delete":
            visit.visitor.remove(record)
        elif action == "star":
            visit.visitor.star(record)
        return record if action == "show" else None

    def take_all(self, visit: Visit) -> Updates:
        """A link to all pictures in one file, which DOWNLOAD follows."""
        path = visit.visitor.new_file("magicstyle.zip")
        with zipfile.ZipFile(path, "w") as archive:
            for record in visit.visitor.history:
                archive.write(record.path, record.path.name)
        return {self.zip: f'<a href="{file_url(path)}" download="{path.name}"></a>'}

    def connect(self) -> None:
        def compare(left: int | None, right: int | None, request: gr.Request) -> tuple[str, str] | None:
            visitor = Visit(self.desk, request).visitor
            paths = [record.path for number in (left, right) if number and (record := visitor.entry(number))]
            return (str(paths[0]), str(paths[1])) if len(paths) == 2 else None

        gr.on([self.left.input, self.right.input], compare, [self.left, self.right], self.compare, **AT_ONCE)


TAKE_ALL = "take all"  # what a click on that button carries
DOWNLOAD = """() => { const link = document.querySelector('#zip a');
  if (link && link.dataset.taken !== link.href) { link.dataset.taken = link.href; link.click(); } }"""
