"""The photograph, up to three styles with their weights, and the wall of pictures that one can use."""

from __future__ import annotations

from html import escape
from pathlib import Path

import gradio as gr

from magicstyle_core.errors import ImageError
from magicstyle_core.images import with_alpha
from magicstyle_core.serving.desk import Desk
from magicstyle_core.serving.jobs import Job
from magicstyle_core.ui.inputs import Photograph, Slider
from magicstyle_core.ui.texts import label
from magicstyle_core.ui.visit import AT_ONCE, PICK, Data, Updates, Visit, alert, file_url, note

UNSEEN = {".heic", ".heif", ".tif", ".tiff", ".jp2", ".ppm"}  # what most browsers leave blank
MAX_OWN = 4  # of the visitor's own styles on the wall: one row with the bundled ones


class Pictures:
    """The boxes for pictures. `more` is called for the tab that holds the second and third style."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.bundled = {kind: sorted(desk.bundled.glob(f"{kind}_*.webp")) for kind in ("style", "portrait")}
        with gr.Row(elem_classes="ms-pair"):
            self.content = self._box("photograph", "content")
            self.styles = [self._box("style", "style-1")]
        self.notes = [gr.HTML(elem_id="content-note"), gr.HTML(elem_id="style-1-note")]
        self.weights: list[gr.Slider] = []
        self.wall = gr.HTML(elem_id="wall", js_on_load=PICK)

    def more(self) -> None:
        """The boxes of the second and third style and every weight, in the current context."""
        self.weights.append(self._weight(1))
        for number in (2, 3):
            self.styles.append(self._box(f"style_{number}", f"style-{number}"))
            self.notes.append(gr.HTML(elem_id=f"style-{number}-note"))
            self.weights.append(self._weight(number))

    @property
    def boxes(self) -> list[gr.Image]:
        return [self.content, *self.styles]

    @property
    def inputs(self) -> list[gr.Image | gr.Slider]:
        return [*self.boxes, *self.weights]

    @property
    def outputs(self) -> list[gr.HTML]:
        return [*self.notes, self.wall]

    def read(self, data: Data, visit: Visit, size: int | None) -> tuple[str, list[tuple[str, float]]]:
        """The photograph, "" while there is none, and the styles with their weights.

        Raises:
            ImageError: one of the pictures cannot be used.
        """
        for box in self.boxes:
            if data[box]:
                self.desk.picture(visit.visitor, data[box], size)
        boxes = zip(self.styles, self.weights, strict=True)
        return data[self.content] or "", [(data[box], data[weight] or 1.0) for box, weight in boxes if data[box]]

    def said(self, visit: Visit, data: Data) -> Updates:
        """What is wrong with each picture, and the wall with the visitor's own styles."""
        updates: Updates = {}
        for box, beside in zip(self.boxes, self.notes, strict=True):
            updates[beside] = ""
            if data[box]:
                try:
                    self.desk.picture(visit.visitor, data[box], None)
                except ImageError as error:
                    updates[beside] = alert(visit.explain(error))
                else:
                    self._remember(visit, box, data[box])
                    if Path(data[box]).suffix.lower() in UNSEEN:
                        self.keep_original(visit, data[box], None)
                        shown = file_url(visit.visitor.originals[data[box]])
                        updates[beside] = note(visit.say("unseen")) + f'<img class="ms-unseen" src="{shown}" alt="">'
        return {**updates, self.wall: self.wall_of(visit)}

    def keep_original(self, visit: Visit, picture: str, size: int | None) -> None:
        """A picture at the model's size as a file that browsers show, as in the place of the result."""
        if picture not in visit.visitor.originals:
            path = visit.visitor.new_file("photograph.webp")
            opened = self.desk.picture(visit.visitor, picture, size)
            with_alpha(opened.image, opened).save(path, quality=90)
            visit.visitor.originals[picture] = str(path)

    def _remember(self, visit: Visit, box: gr.Image, path: str) -> None:
        own = visit.visitor.styles
        if box is not self.content and self.desk.bundled not in Path(path).parents and path not in own:
            own.insert(0, path)
            del own[MAX_OWN:]

    def wall_of(self, visit: Visit) -> str:
        """Thumbnails of every style and photograph that a click uses."""
        rows = []
        for key, kind, paths in (
            ("wall_styles", "style", [*visit.visitor.styles, *map(str, self.bundled["style"])]),
            ("wall_photographs", "content", list(map(str, self.bundled["portrait"]))),
        ):
            buttons = "".join(
                f'<button type="button" data-pick="{kind} {escape(path)}" aria-label="{self._name(visit, path)}" '
                f'title="{self._name(visit, path)}"><img src="{file_url(visit.visitor.originals.get(path, path))}" '
                'alt="" loading="lazy"></button>'
                for path in paths
            )
            rows.append(f'<p class="ms-label">{visit.html(key)}</p><div class="ms-strip">{buttons}</div>')
        return "".join(rows)

    def updates(self, job: Job) -> Updates:
        """The boxes as this job has them."""
        updates: Updates = {self.content: job.content or None}
        absent: list[tuple[str | None, float]] = [(None, 1.0)] * (len(self.styles) - len(job.styles))
        for box, weight, style in zip(self.styles, self.weights, [*job.styles, *absent], strict=True):
            updates[box], updates[weight] = style
        return updates

    def connect(self) -> None:
        """A click on the wall fills a box; the change of the box does the rest."""

        def use(event: gr.EventData) -> Updates:
            kind, path = event.pick.split(" ", 1)
            if not Path(path).is_file():
                return {self.content: gr.skip()}
            return {self.content if kind == "content" else self.styles[0]: path}

        self.wall.click(use, None, [self.content, self.styles[0]], **AT_ONCE)

    def _name(self, visit: Visit, path: str) -> str:
        return visit.html("wall_item", name=Path(path).stem.replace("_", " ").capitalize())

    def _box(self, name: str, elem_id: str) -> gr.Image:
        return Photograph(
            label=label(name), type="filepath", image_mode=None, format="png",
            sources=["upload", "webcam", "clipboard"], height=190, elem_id=elem_id, buttons=[],
        )  # fmt: skip

    def _weight(self, number: int) -> gr.Slider:
        return Slider(0.1, 3, 1, step=0.1, label=label("weight"), info=label("weight_hint"), elem_id=f"weight-{number}")
